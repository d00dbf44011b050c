// What holds for the whole mesh, whatever the destination.

import Type, { type Static } from 'typebox';
import { apiVersion, metadata, oneOf } from './forms.ts';

export const MESH_KIND = 'Mesh';

export const MeshSchema = Type.Object({
  apiVersion: apiVersion(),
  kind: oneOf([MESH_KIND], 'The kind of this document. A policy has one at most.'),
  metadata: metadata('Its name; no other document may have the same.'),
  spec: Type.Object(
    {
      passthrough: Type.Optional(
        oneOf(
          ['deny', 'allow'],
          'What becomes of calls to hosts that no other document names. `deny`: they are refused with 421. `allow`: they go to the host that the app called, as it sent them, and nothing of them is stored.',
          'deny',
        ),
      ),
    },
    { description: 'What holds for all of it.' },
  ),
});

/** A document as an operator wrote it. */
export type MeshDocument = Static<typeof MeshSchema>;
