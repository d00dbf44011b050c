// The health check for Argo CD of docs/gitops.md, run as it stands there, on objects with the status that the cluster part makes of reports.
// Argo CD runs Lua 5.1 with the object as the table `obj`; of that the check needs nothing that a newer Lua has otherwise.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { LuaFactory } from 'wasmoon';
import { parse, parseAllDocuments } from 'yaml';
import { CRDS } from '../../src/policy/sources/kubernetes/crd.ts';
import type { ObjectReport } from '../../src/policy/sources/kubernetes/report.ts';
import { type NodeView, type Status, statusOf } from '../../src/policy/sources/kubernetes/status.ts';

const DOC = readFileSync(fileURLToPath(new URL('../../docs/gitops.md', import.meta.url)), 'utf8');
const KEY = 'resource.customizations.health.layby.dev_Destination';

const block = [...DOC.matchAll(/^```yaml\n(.*?)^```/gms)].find(([, text]) => text?.includes(KEY))?.[1] ?? '';
const script = (parse(block) as { data: Record<string, string> }).data[KEY] ?? '';

interface Health {
  status: string;
  message?: string;
}

const lua = new LuaFactory();

/** As Argo CD does it: what is no table, and any other status than its own, is an error there. */
async function health(object: object): Promise<Health> {
  const engine = await lua.createEngine({ enableProxy: false });
  try {
    engine.global.set('obj', object);
    return (await engine.doString(script)) as Health;
  } finally {
    engine.global.close();
  }
}

const destination = (generation: number, status?: Status) => ({
  apiVersion: 'layby.dev/v1alpha1',
  kind: 'Destination',
  metadata: { name: 'api', namespace: 'default', generation },
  spec: { hosts: ['api.example'] },
  ...(status && { status }),
});

const node = (name: string, report: Partial<ObjectReport> | undefined, away = false): NodeView => ({
  ...{ node: name, queue: true, away },
  ...(report && {
    report: {
      ...{ kind: 'Destination', namespace: 'default', name: 'api', uid: 'u', observedGeneration: 1 },
      ...{ accepted: true, sidecars: 2, programmed: 2, ...report },
    },
  }),
});

const status = (generation: number, nodes: NodeView[]): Status =>
  statusOf({ generation, queued: true, hosts: ['api.example'] }, nodes, undefined, '2026-01-01T00:00:00Z');

t.test('progressing, until every vehicle that is here has it', async (t) => {
  // What the API server fills in until somebody has judged it.
  const crd = CRDS['layby.dev_destinations.yaml'] as {
    spec: { versions: { schema: { openAPIV3Schema: { properties: { status: { default: Status } } } } }[] };
  };
  const { default: fresh } = crd.spec.versions[0]!.schema.openAPIV3Schema.properties.status;
  const unjudged = { status: 'Progressing', message: 'no control plane has judged it yet' };
  t.strictSame(await health(destination(1, fresh)), unjudged);
  t.strictSame(await health(destination(1)), unjudged, 'without a status');
  t.match(await health(destination(1, status(1, []))), { status: 'Progressing', message: /no vehicle/ });
  const behind = status(1, [node('edge-1', {}), node('edge-2', { programmed: 1 })]);
  t.match(await health(destination(1, behind)), { status: 'Progressing', message: /waiting for edge-2/ });
  const nacked = status(1, [node('edge-1', { nack: 'sidecar truck-7: no' })]);
  t.match(await health(destination(1, nacked)), { status: 'Progressing', message: /truck-7: no/ });
});

t.test('healthy when they have, whoever is away', async (t) => {
  const ready = status(1, [node('edge-1', {}), node('edge-2', undefined, true)]);
  t.match(await health(destination(1, ready)), { status: 'Healthy', message: /on 1 of 1 vehicle; 1 away/ });
});

t.test('degraded when it is wrong', async (t) => {
  const wrong = status(1, [node('edge-1', { accepted: false, message: 'spec.hosts[0]: no' })]);
  t.match(await health(destination(1, wrong)), { status: 'Degraded', message: 'edge-1: spec.hosts[0]: no' });
});

t.test('a status of the generation before says nothing of this one', async (t) => {
  const ready = status(1, [node('edge-1', {})]);
  const wrong = status(1, [node('edge-1', { accepted: false, message: 'no' })]);
  for (const former of [ready, wrong])
    t.match(await health(destination(2, former)), { status: 'Progressing' });
  const seen = status(2, [node('edge-1', {})]);
  t.match(await health(destination(2, seen)), { status: 'Progressing', message: /waiting for edge-1/ });
});

t.test('the other blocks of YAML there are whole documents', async (t) => {
  for (const [, text] of DOC.matchAll(/^```yaml\n(.*?)^```/gms))
    for (const { errors } of parseAllDocuments(text ?? '')) t.same(errors, []);
});
