// Envoy resources as their documented JSON (protobuf JSON, snake case). They are checked where they are encoded: see
// src/control-plane/xds. Everything in this folder is pure.

/** One xDS resource: `@type` and the fields of that message. */
export interface Resource {
  '@type': string;
  /** The name that xDS knows it by (cluster_name for an assignment). */
  name: string;
  [field: string]: unknown;
}
