// A vehicle with two machines: the edge node runs `layby up`, the other one an Envoy with what `layby identity` and `layby bootstrap`
// gave. Both on the loopback here; what is between them is TLS.

import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { findEnvoy } from '../../src/parts/envoy.ts';
import { layby as command } from '../cli/layby-process.ts';
import { curl } from '../rig/app.ts';
import { startLayby } from '../rig/layby.ts';
import { endsWithTheTest } from '../rig/lifetime.ts';
import { Oracle } from '../rig/oracle.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, untilDrained } from './scene.ts';

t.setTimeout(120_000);

t.test(
  'an app on another machine of the vehicle uploads, and its bodies are kept when the link is lost',
  async (t) => {
    const dir = testdir(t);
    const data = join(dir, 'data');
    const oracle = await Oracle.start({ file: join(dir, 'oracle.jsonl') });
    t.teardown(() => oracle.stop());
    const [xds, inbound, outbound, admin] = await Promise.all([1, 2, 3, 4].map(() => freePort()));
    const layby = await startLayby({
      data,
      policy: policyOf({ name: 'api', url: oracle.url }),
      extraArgs: ['--xds-tls', `127.0.0.1:${xds}`, '--inbound', `127.0.0.1:${inbound}`],
    });
    t.teardown(() => layby.stop());

    const identity = join(dir, 'camera');
    const issued = await command(['identity', 'issue', 'camera', '--data', data, '--out', identity]);
    t.match(issued, { code: 0, stdout: /^spiffe:\/\/layby\.local\/node\/camera, good until 20/ });
    const printed = await command([
      ...['bootstrap', 'camera', '--xds', `127.0.0.1:${xds}`, '--identity', identity],
      ...['--queue', `127.0.0.1:${inbound}`, '--outbound', `127.0.0.1:${outbound}`],
      ...['--admin', `127.0.0.1:${admin}`],
    ]);
    t.equal(printed.code, 0);
    const file = join(dir, 'camera.json');
    await writeFile(file, printed.stdout);
    const envoy = spawn(await findEnvoy(), ['-c', file, '--disable-hot-restart', '--log-level', 'warn'], {
      stdio: 'ignore',
    });
    endsWithTheTest(t, envoy);
    const camera = async () => {
      const { sidecars } = (await layby.status()) as { sidecars: { id: string; upToDate: boolean }[] };
      return sidecars.find(({ id }) => id === 'camera');
    };
    while (!(await camera())?.upToDate) await new Promise((done) => setTimeout(done, 50));

    const put = (path: string, body: string) =>
      curl(`http://api.example${path}`, { method: 'PUT', via: `127.0.0.1:${outbound}`, body });
    t.match(await put('/online', 'one'), { status: 200 });
    await layby.link('down');
    const receipt = await put('/offline', 'two');
    t.match(receipt, { status: 307 });
    t.ok(receipt.headers.get('layby-entry'));
    const large = await put('/large', 'x'.repeat(3_000_000));
    t.match(large, { status: 307 }, 'also one that Envoy could not send twice');
    await layby.link('auto');
    await untilDrained(layby);
    const arrived = (await oracle.requests()).map(({ path, bytes }) => ({ path, bytes }));
    t.same(
      arrived.sort((a, b) => (a.path < b.path ? -1 : 1)),
      [
        { path: '/large', bytes: 3_000_000 },
        { path: '/offline', bytes: 3 },
        { path: '/online', bytes: 3 },
      ],
    );
  },
);
