// An operator's hands, as a person uses them: the command line, through the control plane's listener, on a real queue.

import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { testdir } from '../rig/testdir.ts';
import { makeScene } from './queue-scene.ts';

t.test('a dead letter is shown with the answer, edited, retried, and arrives as it was edited', async (t) => {
  const use = await makeScene(t);
  const body = randomBytes(300_000);
  use.answer.body = `{"error":"no such place"}${'.'.repeat(9_000)}`;
  use.answer.headers = { 'x-why': 'because', 'set-cookie': 'session=topsecret' };
  const id = await use.store('/wrong?x=1', body, 'dashcam', { authorization: 'topsecret', 'x-kind': 'old' });
  await use.refuse();

  const shown = await use.run('show', id);
  t.equal(shown.code, 0, shown.said.join());
  t.match(shown.stdout, /state +dead\n[\s\S]*PUT http:\/\/dashcam\.example\/wrong\?x=1\n/);
  t.match(shown.stdout, /authorization: \(hidden\)\n/);
  t.match(shown.stdout, /answered 422\n[\s\S]*x-why: because\n[\s\S]*\{"error":"no such place"\}/);
  t.notMatch(shown.stdout, /topsecret/);
  t.match((await use.run('show', id, '--secrets')).stdout, /authorization: topsecret/);
  const whole = JSON.parse((await use.run('show', id, '--json')).stdout);
  t.equal(whole.answer.body.length, 4096);
  t.match(whole, { state: 'dead', class: 'evidence', seq: 1, reason: /^422: \{"error"/ });

  const elsewhere = await use.run('edit', id, '--url', 'http://telemetry.example/right');
  t.equal(elsewhere.code, 1);
  t.match(elsewhere.said[0], /telemetry\.example is no host of dashcam: its hosts are dashcam\.example/);
  const edited = await use.run(
    ...['edit', id, '--url', 'http://dashcam.example/right?y=2', '--header', 'X-Kind: new: really'],
    ...['--remove-header', 'Authorization', '--reason', 'moved'],
  );
  t.match(edited, {
    code: 0,
    stdout: /PUT http:\/\/dashcam\.example\/right\?y=2\n[\s\S]*X-Kind: new: really/,
  });
  await use.restart();

  use.answer.status = 200;
  use.link.up = true;
  use.sent.length = 0;
  t.match(await use.run('retry', id), { code: 0, stdout: /retried 1 entry/ });
  await use.until(() => use.arrived.has('/right?y=2'));
  t.equal(use.arrived.get('/right?y=2'), body.length);
  t.match(use.sent, [{ path: '/right?y=2', headers: { 'x-kind': 'new: really' } }]);
  t.notOk('authorization' in use.sent[0]!.headers);
  while (Object.keys(await use.states()).length > 0);
  const trail = await use.trail(id);
  t.match(trail.slice(2), [
    /^dead 422: /,
    'edited by alice: moved: url http://dashcam.example/wrong?… → http://dashcam.example/right?…; set X-Kind; removed Authorization',
    'retried by alice',
    'sent try 1',
    'delivered 200',
  ]);
  t.equal((await use.run('edit', id, '--remove-header', 'x')).code, 1);
});

t.test(
  'drop says what it drops, wants --yes, and is in the trail and the counters with who and why',
  async (t) => {
    const use = await makeScene(t, undefined, { held: true });
    const old = await use.store('/old/1', 'x');
    const other = await use.store('/new/1', 'x', 'telemetry');
    const told = await use.run('drop', old);
    t.equal(told.code, 1);
    t.match(
      told.stdout,
      new RegExp(`^would drop 1 entry, 1 bytes\n  ${old} dashcam stored 1 bytes PUT http:`),
    );
    t.match(told.said, [/^layby: nothing was done to 1 entry: say --yes to drop it$/]);
    t.match(await use.run('drop', '--all', '--dry-run'), {
      code: 0,
      stdout: /^would drop 2 entries, 2 bytes/,
    });
    t.equal(Object.keys(await use.states()).length, 2);

    const dropped = await use.run('drop', '--url', '*/old/*', '--yes', '--reason', 'the wrong\ncamera');
    t.match(dropped, { code: 0, stdout: /dropped 1 entry\n$/ });
    t.same(Object.keys(await use.states()), [other]);
    t.equal((await use.trail(old)).at(-1), 'dropped by alice: the wrong camera');
    t.match(
      (await use.admin('/metrics')).text,
      /layby_entries_total\{destination="dashcam",event="dropped"\} 1/,
    );
    t.match((await use.run('drop', old, other, '--yes')).said, [/there is no entry/]);
    t.same(Object.keys(await use.states()), [other], 'one id that is unknown stops all');
    t.match((await use.run('drop', '--yes')).said, [/nothing is selected/]);
  },
);

t.test(
  'a filter selects by destination, state, class and age, and what comes later is not meant',
  async (t) => {
    const use = await makeScene(t);
    const dead = [await use.store('/a', 'x'), await use.store('/b', 'x', 'telemetry')];
    await use.refuse();
    const waiting = await use.store('/c', 'x');
    const listed = async (...filter: string[]): Promise<string[]> =>
      JSON.parse((await use.run('ls', '--json', ...filter)).stdout).map(({ id }: { id: string }) => id);
    t.same(await listed('--state', 'dead'), dead);
    t.same(await listed('--class', 'evidence'), [dead[0], waiting]);
    t.same(await listed('--destination', 'telemetry'), [dead[1]]);
    t.same(await listed('--older-than', '1h'), []);
    const wanted = await use.run('retry', '--all');
    t.match(wanted.said, [/nothing was done to 2 entries: say --yes/]);
    const through = JSON.parse(
      (await use.act('/v1/queue/retry', { select: { all: true }, dryRun: true })).text,
    );
    t.match(through, { entries: 2, through: 3 });
    const later = await use.store('/d', 'x');
    const { text } = await use.act('/v1/queue/drop', { select: { all: true, through: through.through } });
    t.match(JSON.parse(text), { entries: 3 });
    t.same(Object.keys(await use.states()), [later]);
  },
);

t.test('export writes head and body, verified, for their owner alone', async (t) => {
  const use = await makeScene(t);
  const bodies = [randomBytes(2_000_000), Buffer.from('small'), Buffer.alloc(0)];
  const ids: string[] = [];
  for (const [i, body] of bodies.entries())
    ids.push(await use.store(`/${i}`, body, 'dashcam', { 'x-api-key': 'topsecret' }));
  const output = join(testdir(t), 'out');
  t.match(await use.run('export', '--destination', 'dashcam', '-o', output), { code: 0 });
  for (const [i, id] of ids.entries()) {
    const file = join(output, `${id}.body`);
    t.ok(readFileSync(file).equals(bodies[i]!));
    t.equal(statSync(file).mode & 0o777, 0o600);
    const head = JSON.parse(readFileSync(join(output, `${id}.json`), 'utf8'));
    t.equal(head.sha256, createHash('sha256').update(bodies[i]!).digest('hex'));
    t.same(head.headers, [['x-api-key', 'topsecret']]);
  }
  t.equal(readdirSync(output).length, 6);
  t.match((await use.run('export', '-o', output)).said, [/nothing is selected/]);
  t.match((await use.run('export', ids[0]!, '-o', join(output, `${ids[0]}.json`))).said, [
    /cannot be written/,
  ]);
});

t.test('send --now, why and link budget reach the queue from the command line', async (t) => {
  const use = await makeScene(t);
  const id = await use.store('/a', 'x');
  t.match((await use.run('send', id)).said, [/--now/]);
  const sendNow = async () => {
    while (!(await use.program('why', id)).stdout.startsWith('dashcam pauses until'));
    return use.run('send', id, '--now');
  };
  let told = await sendNow();
  // The pause may be over by then, and a try under way.
  while (told.stdout.startsWith('would send now 0 entries')) told = await sendNow();
  t.match(told, { code: 0, stdout: /told to send now: 1 entry\n$/ });
  use.link.up = true;
  await use.until(() => use.arrived.has('/a'));
  while (!(await use.program('why', id)).stdout.startsWith('it was delivered'));
  t.match((await use.program('link', 'budget')).stdout, /^LINK +TODAY \(UTC\) +THIS MONTH\nwired +0 +0\n/);
  t.match(JSON.parse((await use.program('link', 'budget', '--json')).stdout), { lte: { day: 0, month: 0 } });
});
