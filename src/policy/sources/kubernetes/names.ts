// What the documents of the policy are called in the API of Kubernetes.

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
