// `layby status` as a person reads it, where something is wrong with the policy.

import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import t from 'tap';
import { formatAddress } from '../../src/wire/address.ts';
import { listen } from '../../src/wire/http.ts';
import { plane } from '../control-plane/sidecar.ts';
import { writeKubeconfig } from '../rig/kubernetes/cluster.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { layby } from './layby-process.ts';

const policy = (field: string): string =>
  JSON.stringify({
    apiVersion: 'layby.dev/v1alpha1',
    kind: 'Destination',
    metadata: { name: 'api' },
    spec: { [field]: ['api.example'], upstream: { url: 'http://127.0.0.1:9' } },
  });

t.test('a policy that was refused is told with its places, until it is right', async (t) => {
  const dir = testdir(t);
  const file = join(dir, 'policy.json');
  await writeFile(file, policy('hosts'));
  const { control } = await plane(t, dir, { host: '127.0.0.1', port: await freePort() }, file, 9);
  const said = async () => (await layby(['status', '--admin', formatAddress(control.admin)])).stdout;
  const until = async (is: RegExp): Promise<string> => {
    for (const deadline = Date.now() + 20_000; ; ) {
      const text = await said();
      if (is.test(text)) return text;
      if (Date.now() > deadline) throw new Error(`not ${is}: ${text}`);
    }
  };
  t.notMatch(await said(), /policy/);
  await writeFile(file, policy('hostss'));
  const text = await until(/policy refused; what was in force before is in force:/);
  t.match(text, /policy\.json:1:\d+: spec.*hostss/);
  t.match(text, /^api +direct/m);
  await writeFile(file, policy('hosts'));
  await until(/^(?!.*policy refused)/s);
});

t.test('a cluster that cannot be asked is told with what is done about it', async (t) => {
  const dir = testdir(t);
  const kubeconfig = join(dir, 'kubeconfig');
  await writeKubeconfig(kubeconfig, { url: `https://127.0.0.1:${await freePort()}`, ca: '' }, 'x');
  const xds = { host: '127.0.0.1', port: await freePort() };
  const { control } = await plane(t, dir, xds, '', 9, { kubernetes: { kubeconfig, node: 'edge' } });
  for (let text = ''; !/^policy: the API server does not answer: .*it is tried again/m.test(text); )
    text = (await layby(['status', '--admin', formatAddress(control.admin)])).stdout;
  t.pass();
});

t.test('what a destination refuses is named, each on one line', async (t) => {
  const link = { state: 'up', by: 'default', sources: [] };
  const oldest = [
    {
      ...{ id: 'id-1', request: 'PUT http://api.example/a', tries: 12, since: '2026-11-29T10:00:00.000Z' },
      lastError: '501: <Error>\n  <Code>NotImplemented</Code>\u001b[2J',
    },
    { id: 'id-2', request: 'PUT http://api.example/b', tries: 3, since: null, lastError: '500' },
  ];
  const body = JSON.stringify({
    ...{ link: 'up', network: null, policy: { problem: null }, overrides: { all: 'auto', byName: {} } },
    ...{
      queue: { answers: true, reported: true },
      setAside: null,
      orphaned: [],
      unresolved: [],
      sidecars: [],
    },
    destinations: [
      {
        ...{
          name: 'api',
          state: 'draining',
          entries: 9,
          bytes: 9,
          dead: 0,
          oldest: null,
          why: 'refused',
          link,
        },
        refused: { destination: 'api', entries: 8, behind: 1, alone: true, oldest },
      },
    ],
  });
  const server = createServer((_, response) => response.end(body));
  const admin = await listen(server, { host: '127.0.0.1', port: 0 });
  t.teardown(() => server.close());
  const { stdout } = await layby(['status', '--admin', formatAddress(admin)]);
  const lines = stdout.split('\n').filter((line) => line.startsWith('refused by'));
  t.same(lines, [
    'refused by api: id-1 PUT http://api.example/a, 12 tries, while it takes others, since 2026-11-29T10:00:00.000Z, the last with: 501: <Error> <Code>NotImplemented</Code> [2J',
    'refused by api: id-2 PUT http://api.example/b, 3 tries, the last with: 500',
    'refused by api: 6 more, see `layby queue ls`',
  ]);
});
