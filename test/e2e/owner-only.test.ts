// What apps send has their credentials in it: no other user of the machine may read what a mesh keeps of it, whatever the umask it was started
// with, and whatever an older version left.

import { chmodSync, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { curl } from '../rig/app.ts';
import { type Layby, startLayby } from '../rig/layby.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(120_000);

const below = (path: string): string[] => [
  path,
  ...(lstatSync(path).isDirectory() ? readdirSync(path).flatMap((name) => below(join(path, name))) : []),
];

/** What others than the owner may do anything with, and files that the owner may run. */
const exposed = (data: string): string[] =>
  below(data).flatMap((path) => {
    const stats = lstatSync(path);
    const allowed = stats.isFile() ? 0o600 : 0o700;
    return stats.mode & 0o777 & ~allowed ? [`${(stats.mode & 0o777).toString(8)} ${path}`] : [];
  });

t.test('a data directory and all in it is for its owner alone', async (t) => {
  const data = join(testdir(t), 'data');
  const start = async (): Promise<Layby> => {
    const layby = await startLayby({ data, wrap: ['/bin/sh', '-c', 'umask 022; exec "$@"', 'sh'] });
    t.teardown(() => layby.kill9('all'));
    const upload = (name: string) =>
      curl(`http://dashcam.example/${name}`, {
        ...{ via: layby.outbound, method: 'PUT', body: 'x'.repeat(10_000) },
        headers: ['authorization: Bearer hidden'],
      });
    // Stored where the link is still down, from before.
    t.ok((await upload('online')).status < 400);
    await layby.link('down');
    t.equal((await upload('stored')).status, 307);
    return layby;
  };
  const first = await start();
  t.same(exposed(data), [], 'made so');
  t.ok(below(data).length > 30, 'store, demo and sockets are in it');
  await first.stop();
  for (const path of below(data)) {
    const stats = lstatSync(path);
    if (stats.isFile() || stats.isDirectory()) chmodSync(path, stats.isFile() ? 0o644 : 0o755);
  }
  const second = await start();
  t.same(exposed(data), [], 'and made so of what was there');
  t.equal((await second.stop()).code, 0);
});
