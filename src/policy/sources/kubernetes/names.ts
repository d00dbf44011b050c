// What the documents of the policy are called in the API of Kubernetes.

import { LaybyError } from '../../../telemetry/error.ts';
import { API_VERSION } from '../../schema/forms.ts';
import { MESH_KIND } from '../../schema/mesh.ts';
import { SERVICE_KIND } from '../../schema/service.ts';
import { KIND } from '../../schema.ts';

export const [GROUP = '', VERSION = ''] = API_VERSION.split('/');

/** In paths, by kind. */
export const PLURALS: Readonly<Record<string, string>> = {
  [KIND]: 'destinations',
  [SERVICE_KIND]: 'services',
  [MESH_KIND]: 'meshes',
};

/** `namespace`: undefined: all. */
export const pathIn = (root: string, namespace: string | undefined, plural: string): string =>
  `${root}${namespace === undefined ? '' : `/namespaces/${encodeURIComponent(namespace)}`}/${plural}`;

/** Of all objects of a kind. */
export const pathOf = (kind: string, namespace: string | undefined): string =>
  pathIn(`/apis/${GROUP}/${VERSION}`, namespace, PLURALS[kind] ?? '');

/** On an object of kind Mesh, `true`: every control plane that sees it takes deletions as they are. */
export const ACCEPT_ANNOTATION = 'layby.dev/accept-deletions';

const NODE_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** A DNS subdomain (RFC 1123), as Kubernetes calls its nodes. Errors: LAYBY_KUBERNETES_CONFIG_INVALID. */
export function checkNodeName(name: string): string {
  if (name.length <= 253 && NODE_NAME.test(name)) return name;
  throw new LaybyError(
    'LAYBY_KUBERNETES_CONFIG_INVALID',
    `${JSON.stringify(name)} is no name of a node: expected small letters, digits, - and . in between, at most 253 characters`,
    { remedy: "name the node with --kubernetes-node, as in 'kubectl get nodes'" },
  );
}
