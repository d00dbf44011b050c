// manifests/crds says what the schema says. That the API server takes it, and what it then refuses, is for test/kubernetes.

import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parse } from 'yaml';
import { manifests } from '../../scripts/crds.ts';
import {
  DESTINATION_JSON_SCHEMA,
  type JsonSchema,
  MESH_JSON_SCHEMA,
  SERVICE_JSON_SCHEMA,
} from '../../src/policy/schema.ts';
import { CRDS } from '../../src/policy/sources/kubernetes/crd.ts';
import type { Schema } from '../../src/policy/sources/kubernetes/crd-words.ts';
import { run } from '../rig/run.ts';

t.test('the manifests of the custom resources are up to date', async (t) => {
  // By itself: what prints the results of tests has its own ideas of how YAML writes a time.
  const script = fileURLToPath(new URL('../../scripts/crds.ts', import.meta.url));
  await t.resolves(run([process.execPath, script, '--check']), 'if not: node scripts/crds.ts');
});

t.test('a reader of YAML 1.1, as kubectl is one, finds every field under its name', async (t) => {
  for (const [name, text] of manifests())
    t.strictSame(parse(text, { version: '1.1' }), parse(text, { version: '1.2' }), name);
});

/** Every node below `schema` with its path. */
function* nodesOf<Node extends { properties?: Readonly<Record<string, Node>>; items?: Node }>(
  schema: Node,
  path = '',
): Generator<[path: string, node: Node]> {
  yield [path, schema];
  for (const [name, field] of Object.entries(schema.properties ?? {}))
    yield* nodesOf(field, path ? `${path}.${name}` : name);
  if (schema.items) yield* nodesOf(schema.items, `${path}[]`);
}

const FILE_SCHEMAS: Readonly<Record<string, JsonSchema>> = {
  Destination: DESTINATION_JSON_SCHEMA,
  Service: SERVICE_JSON_SCHEMA,
  Mesh: MESH_JSON_SCHEMA,
};

t.test('every field is described, and what it refuses is said in words', async (t) => {
  for (const { spec } of Object.values(CRDS)) {
    const { kind } = spec.names;
    const root = spec.versions[0]!.schema.openAPIV3Schema as Schema;
    const nodes = new Map(nodesOf(root));
    for (const [path, node] of nodes) {
      // Of the metadata Kubernetes has its own words.
      if (!path.startsWith('metadata')) t.ok(node.description, `${kind} ${path} has a description`);
      t.equal(node.pattern, undefined, `${kind} ${path} has no pattern`);
      for (const { rule, message } of node['x-kubernetes-validations'] ?? []) {
        t.ok(rule && message, `${kind} ${path}: ${rule}`);
        t.notMatch(message, /\^|\\/, message);
      }
    }
    const file = FILE_SCHEMAS[kind];
    if (!file) continue;
    for (const [path, { pattern, title = '' }] of nodesOf(file)) {
      if (pattern === undefined) continue;
      const name = path === 'metadata.name';
      const node = name ? root : nodes.get(path);
      t.ok(
        node?.['x-kubernetes-validations']?.some(({ message }) => message === `expected ${title}`),
        `${kind} ${path} is judged as in files`,
      );
      if (!name && !path.endsWith('[]')) t.ok(node?.description?.includes(title), `${path} names its form`);
    }
  }
});
