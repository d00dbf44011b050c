// Law 3, against the kernel: a request that was given up does not arrive later, when the link is back, behind newer ones.
// Without SO_LINGER on the sidecar's upstream connections this fails: a close leaves what is in the socket to be sent.

import { randomBytes } from 'node:crypto';
import t from 'tap';
import { makeScene } from '../e2e/scene.ts';
import { blackhole } from '../rig/faults/blackhole.ts';
import { noRoad } from '../rig/namespaces.ts';

t.setTimeout(120_000);

t.test('what is given up during a cut does not arrive after it', { skip: noRoad }, async (t) => {
  const { road, oracle, call } = await makeScene(t);
  const cut = blackhole(road);
  t.teardown(() => cut.clear());
  // A connection that is open and warm, so that the whole body fits into its window and the kernel's buffer.
  for (let warm = 0; warm < 5; warm++) {
    const body = randomBytes(900_000);
    t.equal((await call('http://api.example/warm', { method: 'PUT', body })).status, 200);
  }
  await cut.inject();
  const gone = new AbortController();
  const given = call('http://api.example/given-up', {
    method: 'PUT',
    body: randomBytes(900_000),
    signal: gone.signal,
  }).catch(() => undefined);
  // Envoy has taken it all and handed it to the kernel; the app goes away, and so does Envoy's request.
  await new Promise((resolve) => setTimeout(resolve, 700));
  gone.abort();
  await given;
  await cut.clear();
  const after = await call('http://api.example/after', { method: 'PUT', body: 'after' });
  t.ok(after.status === 200 || after.status === 307);
  await oracle.until((arrivals) => arrivals.some(({ path }) => path === '/after'));
  // TCP would have sent the rest within this time: its pauses have not grown beyond two seconds yet.
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  const late = (await oracle.requests()).filter(({ path, torn }) => path === '/given-up' && !torn);
  t.same(late, []);
});
