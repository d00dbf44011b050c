// A destination is renamed, and removed, while entries of it are stored: on a whole mesh, through its sidecar.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Pool } from 'undici';
import { type Layby, startLayby } from '../rig/layby.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf } from './scene.ts';
import { upstreams } from './treatment-scene.ts';

t.setTimeout(120_000);

const HOST = 'cam.example';

const start = async (t: Test) => {
  const to = await upstreams(t, 'cloud');
  const dir = testdir(t);
  const file = join(dir, 'policy.yaml');
  const camera = (name: string) => policyOf({ name, hosts: [HOST], url: to.url('cloud') });
  const other = policyOf({ name: 'other', url: to.url('cloud') });
  await writeFile(file, `${camera('dashcam')}\n---\n${other}`);
  const layby = await startLayby({ data: join(dir, 'data'), policyFiles: [file] });
  const pool = new Pool(`http://${layby.outbound}`, { connections: 4 });
  t.teardown(async () => {
    if (!t.passing()) t.comment(layby.lines.slice(-40).join('\n'));
    await pool.destroy();
    await layby.kill9('all');
  });
  const call = async (method: 'PUT' | 'GET', path: string, body?: string, host = HOST) => {
    const answer = await pool.request({
      method,
      path,
      headers: { host },
      ...(body !== undefined && { body }),
    });
    return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() };
  };
  return { to, dir, file, layby, call, camera, other };
};

const queueLine = (layby: Layby, msg: string): Promise<string> =>
  layby.untilLine((line) => line.includes(`"msg":"${msg}`), 20_000);

t.test(
  'a renamed destination: no call passes what is stored, and the operator is told what to do',
  async (t) => {
    const { to, dir, file, layby, call, camera, other } = await start(t);
    await layby.link('down', 'dashcam');
    const receipt = await call('PUT', '/a', 'stored first');
    t.equal(receipt.status, 307);
    const next = join(dir, 'next.yaml');
    const renamed = `${camera('camera')}\n---\n${other}`;
    await writeFile(next, renamed);
    t.match(
      await layby.cli('policy', 'diff', next),
      /^- dashcam: .*\n(?:.*\n)*warning: 1 entry is stored for dashcam, which is removed: .*queue move --from dashcam --to camera/m,
    );

    // Over the moment in which the policy changes, too.
    const statuses = new Set<number>();
    let inForce = false;
    await writeFile(file, renamed);
    void queueLine(layby, 'the policy names no such destination').then(() => {
      inForce = true;
    });
    for (let i = 0, after = 0; after < 200; i++) {
      statuses.add((await call('PUT', '/a', `later ${i}`)).status);
      if (inForce) after++;
    }
    t.same([...statuses], [307], 'all of them are stored');
    t.equal((await call('PUT', '/b', 'another resource')).status, 200);
    t.same(
      to.arrived.map(({ body }) => body),
      ['another resource'],
    );

    const page = await call('GET', String(receipt.headers.location));
    t.match(JSON.parse(page.text), { destination: 'dashcam', state: 'stored' });
    const status = await layby.cli('status');
    t.match(
      status,
      /^camera +draining .*entries stored for dashcam go first: layby queue move --from dashcam --to camera$/m,
    );
    t.match(
      status,
      /^dashcam +orphaned +\d+ .* not in the policy: layby queue move --from dashcam --to camera$/m,
    );
    t.match(
      status,
      /^orphaned: the policy names no destination dashcam, .*: \d+ entr.*\n {2}to do: layby queue move --from dashcam --to camera, or layby queue drop --destination dashcam$/m,
    );
    t.ok((await layby.metrics()).get('layby_orphaned_entries{destination="dashcam"}'));

    await layby.cli('queue', 'move', '--from', 'dashcam', '--to', 'camera', '--yes');
    await layby.untilQueue((lines) => lines.length === 0, 60_000);
    const bodies = to.arrived.filter(({ url }) => url === '/a').map(({ body }) => body);
    t.equal(bodies[0], 'stored first');
    const numbers = bodies.slice(1).map((body) => Number(body.slice('later '.length)));
    t.same(
      numbers,
      numbers.toSorted((a, b) => a - b),
      'in their order',
    );
    t.equal((await call('PUT', '/a', 'direct')).status, 200);
    t.match(JSON.parse((await call('GET', String(receipt.headers.location))).text), { state: 'delivered' });
    t.notMatch(await layby.cli('status'), /orphaned/);
  },
);

t.test('a removed destination: its receipts lead to their pages, and nothing is sent', async (t) => {
  const { to, file, layby, call, other } = await start(t);
  await layby.link('down', 'dashcam');
  const receipt = await call('PUT', '/a', 'stored');
  await writeFile(file, other);
  const line = JSON.parse(await queueLine(layby, 'the policy names no such destination'));
  t.match(line, { level: 40, destination: 'dashcam', entries: 1, remedy: /layby queue move --from dashcam/ });
  const path = String(receipt.headers.location);
  for (let answer = await call('PUT', '/a', 'x'); answer.status !== 421; )
    answer = await call('PUT', '/a', 'x');
  t.match(JSON.parse((await call('GET', path)).text), { destination: 'dashcam', state: 'stored' });
  t.equal((await call('GET', path, undefined, 'elsewhere.example')).status, 404);
  t.equal((await call('GET', path, undefined, 'other.example')).status, 404);
  t.equal((await call('GET', '/.well-known/layby/', undefined)).status, 421);
  const status = await layby.cli('status');
  t.match(status, /to do: layby queue move --from dashcam --to NAME/);
  t.match(
    status,
    /^dashcam +orphaned +1 +6 +0 +\S+Z +not in the policy: layby queue move --from dashcam --to NAME$/m,
  );
  t.match(await layby.cli('why', String(receipt.headers['layby-entry'])), /to do: bring dashcam back/);
  t.same(to.arrived, []);
});
