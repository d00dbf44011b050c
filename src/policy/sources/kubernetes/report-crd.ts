// The custom resource definition of the reports that control planes write of their nodes. They are no policy, and no list of it shows them.

import { KEPT } from './crd-words.ts';
import { GROUP, VERSION } from './names.ts';
import { REPORT_KIND, REPORT_PLURAL } from './report.ts';

const text = (description: string) => ({ type: 'string', description });
const flag = (description: string) => ({ type: 'boolean', description });
const count = (description: string) => ({ type: 'integer', minimum: 0, description });

/** As a whole: the server keeps one word of who wrote them, not one for each field. */
const list = (description: string, each: string, required: string[], properties: object) => ({
  type: 'array',
  description,
  'x-kubernetes-list-type': 'atomic',
  items: { type: 'object', description: each, required, properties },
});

const OBJECTS = list(
  'The policy objects that it knows.',
  'What it says of one of them.',
  ['kind', 'namespace', 'name', 'uid', 'observedGeneration', 'accepted'],
  {
    kind: text('Destination, Service or Mesh.'),
    namespace: text('Of the object.'),
    name: text('Of the object.'),
    uid: text('Of the object: another that had the name before is not meant.'),
    observedGeneration: count('The generation that it has judged last.'),
    accepted: flag('Whether the object is right.'),
    message: text('What is wrong with it, as `layby policy check` says it.'),
    sidecars: count('How many are connected.'),
    programmed: count('How many of them have taken all of the policy.'),
    nack: text('Which sidecar has refused something of it, and why.'),
    unresolved: text('Why Services of the cluster that it names have no endpoints.'),
    entries: count('Stored for it on the node.'),
    dead: count('How many of them are dead letters.'),
  },
);

const ORPHANS = list(
  'Entries whose destination the policy has no more.',
  'Those of one.',
  ['destination', 'entries'],
  {
    destination: text('As it was called.'),
    entries: count('Stored for it on the node.'),
  },
);

const HELD = {
  type: 'object',
  description:
    'Deletions that look like an accident: what is lost stays in force on the node until it is there again or somebody accepts it.',
  required: ['count', 'kinds'],
  properties: {
    count: count('How many objects.'),
    kinds: list('By kind.', 'Those of one kind.', ['kind', 'count'], {
      kind: text('Destination, Service or Mesh.'),
      count: count('How many of them.'),
      names: {
        type: 'array',
        description: 'The first few of them.',
        'x-kubernetes-list-type': 'atomic',
        items: text('Of an object that is lost.'),
      },
    }),
  },
};

const STATUS = {
  type: 'object',
  description: 'What the cluster part gives the node. No node writes it.',
  properties: {
    certificate: text('The certificate authority of the node, below one of the roots, PEM.'),
    roots: {
      type: 'array',
      description: 'The roots that the mesh trusts, PEM, without keys.',
      'x-kubernetes-list-type': 'atomic',
      items: text('A root, PEM.'),
    },
    problem: text('Why nothing is signed for the node.'),
  },
};

const column = (name: string, type: string, jsonPath: string) => ({ name, type, jsonPath });

export const REPORT_CRD = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${REPORT_PLURAL}.${GROUP}`, annotations: KEPT },
  spec: {
    group: GROUP,
    scope: 'Namespaced',
    names: { kind: REPORT_KIND, plural: REPORT_PLURAL, singular: REPORT_KIND.toLowerCase() },
    versions: [
      {
        name: VERSION,
        served: true,
        storage: true,
        subresources: { status: {} },
        additionalPrinterColumns: [
          column('Version', 'string', '.version'),
          column('Queue', 'boolean', '.queue'),
          column('Held', 'integer', '.held.count'),
          column('Observed', 'date', '.observedTime'),
          column('Age', 'date', '.metadata.creationTimestamp'),
        ],
        schema: {
          openAPIV3Schema: {
            type: 'object',
            description:
              'What the control plane of a node knows of the policy. Written by it, called as the node.',
            required: ['version', 'observedTime', 'queue', 'objects'],
            properties: {
              apiVersion: text('The version of this form.'),
              kind: text('The kind of this object.'),
              metadata: { type: 'object' },
              version: text('Of Layby on the node.'),
              observedTime: {
                ...text('When this was so. Written when something changes.'),
                format: 'date-time',
              },
              queue: flag('Whether the queue of the node answers.'),
              objects: OBJECTS,
              orphans: ORPHANS,
              held: HELD,
              omitted: count('How many of the objects and orphans there was no room for.'),
              certificateRequest: {
                ...text('For a certificate authority of the node: PKCS #10, PEM.'),
                maxLength: 2048,
              },
              status: STATUS,
            },
          },
        },
      },
    ],
  },
};
