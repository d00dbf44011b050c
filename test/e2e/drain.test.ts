// Before the ignition goes off: the highest class first, and a true word on what is left. And all destinations together keep the rate
// of the way out.

import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import type { DrainReport } from '../../src/replay/drain.ts';
import { curl } from '../rig/app.ts';
import { startIntercept } from '../rig/intercept.ts';
import { startLayby } from '../rig/layby.ts';
import { run } from '../rig/run.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf } from './scene.ts';

t.setTimeout(120_000);

t.test('layby drain sends by class until the deadline and says what is left', async (t) => {
  const dir = testdir(t);
  const cloud = await startIntercept('http://127.0.0.1:9');
  t.teardown(() => cloud.close());
  cloud.meddle = () => ({ status: 200 });
  const to = (name: string, cls: string) => ({
    ...{ name, url: cloud.url, store: { mode: 'always', class: cls }, replay: { retry: { max: '5m' } } },
  });
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: policyOf(to('clips', 'bulk'), to('alarms', 'evidence')),
    extraArgs: ['--replay-rate', '8Mbit/s'],
  });
  t.teardown(() => layby.kill9('all'));
  await layby.link('down');
  const call = async (host: string, n: number, bytes: number) => {
    const body = randomFillSync(Buffer.alloc(bytes));
    const at = `http://${host}.example/${n}`;
    t.equal((await curl(at, { method: 'PUT', via: layby.outbound, body, maxTime: 20 })).status, 307);
  };
  for (let n = 0; n < 4; n++) await call('clips', n, 3_000_000);
  for (let n = 0; n < 4; n++) await call('alarms', n, 500_000);
  await layby.link('up');
  const drain = async (deadline: string): Promise<DrainReport & { code: number }> => {
    const { code, stdout } = await cli(['drain', '--deadline', deadline, '--json', '--admin', layby.admin]);
    return { ...(JSON.parse(stdout) as DrainReport), code };
  };
  const first = await drain('5s');
  t.equal(first.code, 1);
  t.same(
    first.left.map(({ destination, class: cls }) => [destination, cls]),
    [['clips', 'bulk']],
    'the alarms went first',
  );
  t.ok(first.took >= 5_000 && first.took < 6_000, `${first.took} ms`);
  t.ok(Math.abs(first.rate - 1_000_000) < 60_000, `${first.rate} bytes per second, with 1,000,000 allowed`);
  t.ok(first.needs! > 4_000 && first.needs! < 14_000, `${first.needs} ms more`);
  const second = await drain('30s');
  t.match(second, { code: 0, left: [], needs: 0 });
  const bytes = cloud.exchanges.reduce((sum, exchange) => sum + exchange.bytes, 0);
  t.equal(bytes, 14_000_000);
});

/** The command line, whatever its exit code. */
async function cli(args: string[]): Promise<{ code: number; stdout: string }> {
  const script = `${JSON.stringify(process.execPath)} bin/layby.js ${args.join(' ')}; echo "code $?"`;
  const said = await run(['sh', '-c', script], { timeout: 60_000 });
  const at = said.lastIndexOf('code ');
  return { code: Number(said.slice(at + 5)), stdout: said.slice(0, at) };
}
