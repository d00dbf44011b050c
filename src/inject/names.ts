// What injection goes by and what it leaves in a pod: labels, annotations, names of containers and volumes.

/** On a namespace: `true`. On a pod, as label or annotation: `true` or `false`, whatever the namespace says. */
export const INJECT = 'layby.dev/inject';

/** Annotations of a pod; docs/injection.md has a table of them. */
export const CAPTURE = 'layby.dev/capture';
export const CAPTURE_PORTS = 'layby.dev/capture-ports';
export const EXCLUDE_PORTS = 'layby.dev/exclude-ports';
export const EXCLUDE_CIDRS = 'layby.dev/exclude-cidrs';
export const RESOLVE = 'layby.dev/resolve';
export const NODE = 'layby.dev/node';
export const EDGE = 'layby.dev/edge';
export const IDENTITY_SECRET_NAME = 'layby.dev/identity-secret';
export const CREDENTIALS_SECRET_NAME = 'layby.dev/credentials-secret';

/** All that a pod may say. */
export const ANNOTATIONS: readonly string[] = [
  INJECT,
  CAPTURE,
  CAPTURE_PORTS,
  EXCLUDE_PORTS,
  EXCLUDE_CIDRS,
  RESOLVE,
  NODE,
  EDGE,
  IDENTITY_SECRET_NAME,
  CREDENTIALS_SECRET_NAME,
];

export const SIDECAR_CONTAINER = 'layby-sidecar';
export const CAPTURE_CONTAINER = 'layby-capture';
export const IDENTITY_VOLUME = 'layby-identity';
export const RUN_VOLUME = 'layby-run';

/** Of the sidecar's process, user and group: what it sends is not captured. */
export const SIDECAR_UID = 1337;

/** Ports in the pod. The app reaches the first on the loopback; the kubelet asks the other. */
export const OUTBOUND_PORT = 15001;
export const READY_PORT = 15021;

/** What names in `layby.dev/resolve` resolve to: an address of the range for benchmarks (RFC 2544), that no network routes. It must
 *  only not be the loopback, which is not captured; where a call goes, its host says. */
export const ANY_ADDRESS = '198.18.0.1';
