// The operator's document, written down once: the TypeScript type, the validation, the reference in docs/policy.md and
// the Kubernetes CRD all come from here and schema/. So it keeps to what a structural schema may hold: no const, no
// additionalProperties beside properties, no uniqueItems, RE2 patterns. Unknown fields are found by src/policy/check.ts.
// `title` says what is expected, for messages; `description` says what the field does, for the reference.

import Type, { type Static } from 'typebox';
import { apiVersion, hosts, metadata, oneOf } from './schema/forms.ts';
import { MeshSchema } from './schema/mesh.ts';
import { Replay } from './schema/replay.ts';
import { Rule } from './schema/rules.ts';
import { ServiceSchema } from './schema/service.ts';
import { Store } from './schema/store.ts';
import { Treatment, Upstream } from './schema/treatment.ts';

export const KIND = 'Destination';

const patch = (description: string) =>
  Type.Optional(Type.Object({}, { 'x-kubernetes-preserve-unknown-fields': true, description }));

export const DestinationSchema = Type.Object({
  apiVersion: apiVersion(),
  kind: oneOf([KIND], 'The kind of this document.'),
  metadata: metadata('Names the destination in logs, metrics and the store. No two may have the same.'),
  spec: Type.Object(
    {
      hosts: hosts(
        'What apps call, without port: names, IPv4 addresses, `[IPv6]` addresses, or `*.name` for every name below it at any depth. Upper and lower case are one. An exact name wins over a wildcard, a longer wildcard over a shorter one. No two destinations may claim the same.',
      ),
      upstream: Upstream,
      tunnel: Type.Optional(
        oneOf(
          ['deny', 'allow'],
          'Whether apps may send what they encrypt themselves: by CONNECT to the port of `upstream.url`, or as TLS that is led to the sidecar. It goes to the host of `upstream.url` as it is, and is never stored; rules and `split` do not count for it.',
          'deny',
        ),
      ),
      ...Treatment,
      store: Type.Optional(Store),
      replay: Type.Optional(Replay),
      rules: Type.Optional(
        Type.Array(Rule, {
          minItems: 1,
          maxItems: 64,
          description:
            'For some requests something is other. The first rule that matches counts, and no other; what it names replaces what the destination says, whole.',
        }),
      ),
      envoy: Type.Optional(
        Type.Object(
          {
            cluster: patch('Onto each cluster that leads to an upstream: envoy.config.cluster.v3.Cluster.'),
            route: patch(
              'Onto each route that leads to an upstream, of apps and of the queue: envoy.config.route.v3.Route.',
            ),
            virtualHost: patch(
              "Onto the virtual host of the apps' calls: envoy.config.route.v3.VirtualHost.",
            ),
          },
          {
            description:
              "The escape hatch: JSON merge patches (RFC 7396) onto what Envoy gets, in Envoy's own words. `layby policy check` asks Envoy itself whether it takes them. What they break of the laws is the operator's.",
          },
        ),
      ),
    },
    { description: 'What shall happen to its requests.' },
  ),
});

/** A document as an operator wrote it: defaults not yet filled in, units not yet resolved. */
export type DestinationDocument = Static<typeof DestinationSchema>;

/** The part of JSON Schema that the schema above uses. */
export interface JsonSchema {
  type?: 'object' | 'array' | 'string' | 'integer';
  title?: string;
  description?: string;
  default?: unknown;
  enum?: readonly string[];
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  maxLength?: number;
  required?: readonly string[];
  properties?: Readonly<Record<string, JsonSchema>>;
  items?: JsonSchema;
  /** What is in it is Envoy's to judge. */
  'x-kubernetes-preserve-unknown-fields'?: boolean;
}

/** The same schemas as plain JSON Schema. */
export const DESTINATION_JSON_SCHEMA: JsonSchema = JSON.parse(JSON.stringify(DestinationSchema));
export const SERVICE_JSON_SCHEMA: JsonSchema = JSON.parse(JSON.stringify(ServiceSchema));
export const MESH_JSON_SCHEMA: JsonSchema = JSON.parse(JSON.stringify(MeshSchema));
