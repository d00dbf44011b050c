// What the validating webhook says of an object.

import t from 'tap';
import type { AdmissionRequest } from '../../src/admission/server.ts';
import { Objects, type PolicyObject } from '../../src/policy/sources/kubernetes/objects.ts';
import { policyReviewer } from '../../src/policy/sources/kubernetes/review.ts';
import { strandedBy, strandedText } from '../../src/policy/stranded.ts';

const object = (name: string, hosts: unknown): PolicyObject => ({
  kind: 'Destination',
  metadata: {
    ...{ namespace: 'default', name, uid: name, resourceVersion: '1', generation: 1 },
    creationTimestamp: '2026-01-01T00:00:00Z',
  },
  spec: { hosts, upstream: { url: 'http://127.0.0.1:9' } },
});

const cam = object('cam', ['cam.example']);
const api = object('api', ['*.example']);

const objects = new Objects(() => undefined);
const { policy: inForce } = objects.judge([cam, api], undefined);
const others = (of: PolicyObject) => [cam, api].filter(({ metadata }) => metadata.name !== of.metadata.name);
const review = policyReviewer(
  (said) => objects.review(said, others(said), inForce),
  (said, there) =>
    strandedBy(
      inForce,
      objects.policyWith(there ? said : undefined, others(said), inForce),
      new Map([['cam', 2]]),
    ).map(strandedText),
);
const ask = (operation: string, of: { object?: PolicyObject; oldObject?: PolicyObject }) =>
  review({
    ...{ uid: '1', kind: { kind: 'Destination' }, operation, namespace: 'default' },
    ...{ object: of.object ?? null, oldObject: of.oldObject },
  } as AdmissionRequest);

t.test('a deletion is allowed, with a warning where entries are stored', async (t) => {
  t.match(await ask('DELETE', { oldObject: cam }), {
    refused: undefined,
    warnings: [/^2 entries are stored for cam, which is removed: .*layby queue move --from cam --to api/],
  });
  t.same(await ask('DELETE', { oldObject: api }), {});
});

t.test('an edit that takes a host away warns where entries are stored for it', async (t) => {
  t.same(await ask('UPDATE', { object: cam, oldObject: cam }), {});
  t.same(await ask('UPDATE', { object: object('cam', ['cam.example', 'b.example']), oldObject: cam }), {});
  t.same(await ask('UPDATE', { object: object('api', ['*.example', '*.x']), oldObject: api }), {});
  t.match(await ask('UPDATE', { object: object('cam', ['b.example']), oldObject: cam }), {
    warnings: [/cam, of which cam.example goes to api/],
  });
});

t.test('what is wrong is refused, and nothing else is said of it', async (t) => {
  const refused = await ask('UPDATE', { object: object('cam', 'cam.example'), oldObject: cam });
  t.match(refused, { refused: /spec\.hosts/, warnings: undefined });
});
