// The custom resources of the policy, made of the schema of its documents: what Kubernetes refuses itself, fills in, and shows in a list. The
// words of `layby policy check` come later, from the webhook and in the status.

import { MESH_KIND } from '../../schema/mesh.ts';
import { SERVICE_KIND } from '../../schema/service.ts';
import {
  DESTINATION_JSON_SCHEMA,
  type JsonSchema,
  KIND,
  MESH_JSON_SCHEMA,
  SERVICE_JSON_SCHEMA,
} from '../../schema.ts';
import { inWords, KEPT, matches, type Schema } from './crd-words.ts';
import { GROUP, PLURALS, VERSION } from './names.ts';
import { REPORT_PLURAL } from './report.ts';
import { REPORT_CRD } from './report-crd.ts';
import { CONDITIONS, type ConditionType } from './status.ts';

const UPSTREAM: [rule: string, message: string][] = [
  [
    '!has(self.split) || self.split.map(part, part.percent).sum() < 100',
    'expected less than 100 percent together in split',
  ],
  [
    '!has(self.sign) || (!has(self.split) && !has(self.mirror))',
    'split and mirror do not go together with sign: a signature is made for one host',
  ],
];

const STATUS_CODES: [string, string] = [
  'self.all(code, code >= 500 || code in [408, 425, 429])',
  'expected 408, 425, 429 or 500 to 599',
];

/** What a schema cannot say (src/policy/values.ts has it all), as far as the API server can judge it at little cost. */
const RULES: Readonly<Record<string, [rule: string, message: string][]>> = {
  'spec.upstream': UPSTREAM,
  'spec.rules[].upstream': UPSTREAM,
  'spec.store.methods': [
    [
      "self.all(method, !(method.upperAscii() in ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'CONNECT']))",
      'methods that only read, and CONNECT, cannot be stored',
    ],
  ],
  'spec.retries.on': [STATUS_CODES],
  'spec.rules[].retries.on': [STATUS_CODES],
  'spec.rules[]': [
    [
      ['upstream', 'headers', 'answerTimeout', 'retries', 'rateLimit', 'store']
        .map((field) => `has(self.${field})`)
        .join(' || '),
      'expected something that is other for these requests, like store or headers',
    ],
  ],
  'spec.rules[].match.path': [
    [
      '[has(self.prefix), has(self.exact), has(self.regex)].exists_one(there, there)',
      'expected one of prefix, exact and regex',
    ],
  ],
  'spec.rules[].match.apps': [['has(self.nodes) || has(self.labels)', 'expected nodes, labels or both']],
};

const below = (path: string, step: string): string => (path ? `${path}.${step}` : step);

const withRules = (schema: Schema, path: string): Schema => {
  const rules = RULES[path];
  return {
    ...schema,
    ...(schema.properties && {
      properties: Object.fromEntries(
        Object.entries(schema.properties).map(([name, field]) => [name, withRules(field, below(path, name))]),
      ),
    }),
    ...(schema.items && { items: withRules(schema.items, `${path}[]`) }),
    ...(rules && { 'x-kubernetes-validations': rules.map(([rule, message]) => ({ rule, message })) }),
  };
};

const text = (description: string): Schema => ({ type: 'string', description });
const time = (description: string): Schema => ({ ...text(description), format: 'date-time' });
const count = (description: string): Schema => ({ type: 'integer', minimum: 0, description });

const STATUS: Schema = {
  type: 'object',
  description: 'What became of it on all nodes. Written by the cluster part.',
  // Until somebody has judged it, nobody takes it for ready (kstatus: an object without conditions is).
  default: {
    conditions: ['Ready', 'Accepted'].map((type) => ({
      ...{
        type,
        status: 'Unknown',
        reason: 'Pending',
        message: 'the cluster part of Layby has not seen it yet',
      },
      lastTransitionTime: '1970-01-01T00:00:00Z',
    })),
  },
  properties: {
    observedGeneration: count('The generation that this is said of.'),
    hosts: text('Its hosts, shortened: a.example, b.example and 3 more.'),
    vehicles: {
      type: 'object',
      description: 'Nodes that report.',
      properties: {
        total: count('How many there are.'),
        programmed: count('How many of them have the newest on all of their sidecars.'),
        away: count('How many of them are away: their Node is not ready.'),
      },
    },
    entries: {
      type: 'object',
      description: 'Requests that are stored for it, on all nodes.',
      properties: {
        stored: count('In whatever state.'),
        dead: count('Of them, dead letters.'),
      },
    },
    conditions: {
      type: 'array',
      description: 'All nodes together.',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['type'],
      items: {
        type: 'object',
        required: ['type', 'status', 'reason', 'message', 'lastTransitionTime'],
        properties: {
          type: text(
            `${CONDITIONS.join(', ')}: in force on all nodes that are not away, accepted by every control plane, taken by every sidecar, the Services that it names have endpoints, refused by an Envoy, wrong until it is edited, and of the kind Mesh that nodes do not follow deletions that look like an accident.`,
          ),
          status: { type: 'string', enum: ['True', 'False', 'Unknown'], description: 'Whether it is so.' },
          reason: text('Why, as one word.'),
          message: text('Why, in words.'),
          observedGeneration: count('The generation that this is said of.'),
          lastTransitionTime: time('Since when.'),
        },
      },
    },
  },
};

const standing = (type: ConditionType) => ({
  name: type,
  type: 'string',
  jsonPath: `.status.conditions[?(@.type=="${type}")].status`,
});

const column = (name: string, field: string, priority = 0) => ({
  name,
  type: 'string',
  jsonPath: `.spec.${field}`,
  ...(priority > 0 && { priority }),
});

const HOSTS_COLUMN = { name: 'Hosts', type: 'string', jsonPath: '.status.hosts' };

const STANDING_COLUMNS = [
  standing('Ready'),
  standing('Accepted'),
  standing('Programmed'),
  { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  {
    name: 'Message',
    type: 'string',
    jsonPath: '.status.conditions[?(@.type=="Ready")].message',
    priority: 1,
  },
];
const crd = (kind: string, about: string, schema: JsonSchema, short: string, columns: unknown[]) => {
  const plural = PLURALS[kind]!;
  const { metadata, spec } = schema.properties ?? {};
  const { name } = metadata?.properties ?? {};
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${GROUP}`, annotations: KEPT },
    spec: {
      group: GROUP,
      scope: 'Namespaced',
      names: { kind, plural, singular: kind.toLowerCase(), shortNames: [short], categories: ['layby'] },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: [...columns, ...STANDING_COLUMNS],
          schema: {
            openAPIV3Schema: {
              type: 'object',
              description: about,
              required: ['spec'],
              properties: {
                apiVersion: text('The version of this form.'),
                kind: text('The kind of this object.'),
                // Kubernetes lets a CRD say nothing else of it.
                metadata: { type: 'object', properties: { name: { type: 'string' } } },
                spec: inWords(withRules(spec as Schema, 'spec'), 'spec'),
                status: inWords(STATUS, 'status'),
              },
              'x-kubernetes-validations': [
                {
                  ...matches('self.metadata.name', name?.pattern ?? '', name?.title ?? ''),
                  fieldPath: '.metadata.name',
                },
              ],
            },
          },
        },
      ],
    },
  };
};

/** The definitions, by the names of their files. */
export const CRDS: Readonly<Record<string, ReturnType<typeof crd> | typeof REPORT_CRD>> = {
  [`${GROUP}_${PLURALS[KIND]}.yaml`]: crd(
    KIND,
    'Servers that apps call, and what happens to requests while there is no link.',
    DESTINATION_JSON_SCHEMA,
    'dest',
    [
      HOSTS_COLUMN,
      column('Upstream', 'upstream.url'),
      column('Mode', 'store.mode'),
      column('Receipt', 'store.receipt'),
      column('Order', 'store.order', 1),
      column('Class', 'store.class', 1),
    ],
  ),
  [`${GROUP}_${PLURALS[SERVICE_KIND]}.yaml`]: crd(
    SERVICE_KIND,
    'An app of the vehicle that other apps call through the mesh.',
    SERVICE_JSON_SCHEMA,
    'lsvc',
    [HOSTS_COLUMN, column('Node', 'node'), column('Address', 'address')],
  ),
  [`${GROUP}_${PLURALS[MESH_KIND]}.yaml`]: crd(
    MESH_KIND,
    'What holds for the whole mesh. There is one at most.',
    MESH_JSON_SCHEMA,
    'lmesh',
    [column('Passthrough', 'passthrough'), standing('DeletionsHeld')],
  ),
  [`${GROUP}_${REPORT_PLURAL}.yaml`]: REPORT_CRD,
};
