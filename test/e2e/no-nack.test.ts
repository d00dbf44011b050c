// Envoy takes every configuration that a policy can lead to, and the program says so.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Layby, startLayby } from '../rig/layby.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, type Wanted } from './scene.ts';

t.setTimeout(290_000);

/** Everything that the schema knows, in every mode. */
const everything = (): Wanted[] => {
  const wanted: Wanted[] = [];
  for (const mode of ['never', 'failover', 'always'])
    for (const url of [
      'http://10.9.9.9',
      'https://unresolvable.invalid/v1/',
      'http://[::1]:8080/a/b',
      'https://127.0.0.1:1',
    ])
      for (const sign of [false, true])
        for (const order of ['none', 'key', 'strict'])
          wanted.push({
            ...{ name: `d${wanted.length}`, url, sign },
            store: {
              ...{ mode, order, methods: ['PUT', 'POST', 'PATCH', 'DELETE'] },
              receipt: ['redirect', 'accepted', 's3', 'auto'][wanted.length % 4],
              class: ['bulk', 'normal', 'urgent', 'evidence'][wanted.length % 4],
              ...{ ttl: '7d', quota: '20GiB', whenFull: wanted.length % 2 ? 'refuse' : 'evict' },
            },
            replay: { concurrency: 8, rate: '8Mbit/s', retry: { max: '30s' } },
          });
  return [
    ...wanted,
    {
      name: 'wild',
      hosts: ['*.wild.example', '*.deep.wild.example', 'x.wild.example', 'UPPER.Example'],
      url: 'http://a.invalid',
    },
    { name: 'address', hosts: ['10.1.2.3', '[::2]', 'localhost'], url: 'http://b.invalid' },
    { name: 'nothing', url: 'http://c.invalid', store: { methods: ['DELETE'] } },
    { name: `long-${'x'.repeat(58)}`, hosts: ['long.example'], url: 'http://d.invalid' },
    ...Array.from({ length: 50 }, (_, at) => ({ name: `many-${at}`, url: `http://m${at}.invalid/p` })),
  ];
};

interface Sidecar {
  upToDate: boolean;
  types: Record<string, { sent?: string; acked?: string; nack?: unknown }>;
}

const takes = async (t: Test, layby: Layby): Promise<void> => {
  const metrics = await layby.metrics();
  t.equal(metrics.get('layby_xds_nacks_total'), 0);
  t.ok(metrics.get('layby_xds_acks_total')! > 0);
  t.equal(metrics.get('layby_sidecars{up_to_date="true"}'), 1);
  const { sidecars } = (await layby.status()) as unknown as { sidecars: Sidecar[] };
  t.equal(sidecars.length, 1);
  for (const { types, upToDate } of sidecars) {
    t.ok(upToDate);
    for (const [type, { sent, acked, nack }] of Object.entries(types)) {
      t.equal(nack, undefined, `${type}: no NACK`);
      t.equal(acked, sent, `${type}: acknowledged`);
    }
    t.match(Object.keys(types).sort(), ['cluster', 'listener', 'route', 'runtime']);
  }
  t.same(
    layby.lines.filter((line) => line.includes('refused')),
    [],
    'and nothing was refused in the log',
  );
};

t.test('Envoy takes a policy with everything in it, and each change of it', async (t) => {
  const dir = testdir(t);
  const file = join(dir, 'policy.yaml');
  await writeFile(file, policyOf(...everything()));
  const layby = await startLayby({
    ...{ data: join(dir, 'data'), policyFiles: [file], timeout: 40_000 },
    env: { AWS_ACCESS_KEY_ID: 'A'.repeat(20), AWS_SECRET_ACCESS_KEY: 'b'.repeat(40) },
  });
  t.teardown(() => layby.kill9('all'));
  await takes(t, layby);

  await layby.link('down');
  await layby.link('auto');
  await takes(t, layby);

  const policies = () =>
    layby.lines.filter((line) => line.includes('"policy in force"') && line.includes('"queue"')).length;
  for (const next of [everything().slice(0, 5), [...everything()].reverse(), everything().slice(-1)]) {
    const before = policies();
    await writeFile(file, policyOf(...next));
    await layby.untilLine(() => policies() > before);
    // The sidecar answers after the queue at times: ready says when all of them have.
    while ((await layby.get('/readyz')).status !== 200);
    await takes(t, layby);
    t.equal((await layby.status()).destinations.length, next.length);
  }
  t.match(await layby.stop(), { code: 0, left: [] });
});
