// "What became of clip 17?", asked at the queue's admin listener, and what an app hears when there is no room.

import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import t from 'tap';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

interface Line {
  at: string;
  kind: string;
  id: string;
  url?: string;
  detail?: string;
}

t.test('the admin listener tells what became of an entry, by its id and by a part of its URL', async (t) => {
  const use = await scene(testdir(t), [destinationOf('dashcam')]);
  const audit = async (query: string): Promise<Line[]> =>
    JSON.parse((await use.admin(`/v1/queue/audit?${query}`)).text);
  const ids: string[] = [];
  for (let i = 1; i <= 20; i++) {
    const { status, headers } = await use.put(`/2026/clip-${i}.mp4?x=%22${i}`, randomBytes(1000));
    t.equal(status, 307);
    ids.push(String(headers['layby-entry']));
  }
  const id = ids[16]!;
  t.match(await audit(`id=${id}`), [
    { kind: 'stored', id, url: 'http://dashcam.example/2026/clip-17.mp4?x=%2217' },
  ]);
  use.link.up = true;
  await use.until(() => use.arrived.size === 20);
  while ((await audit(`id=${id}`)).length < 3); // delivered is noted after the answer
  t.match(await audit(`id=${id}`), [
    { kind: 'stored' },
    { kind: 'sent', detail: 'try 1' },
    { kind: 'delivered', detail: '200' },
  ]);
  t.same(
    (await audit('url=clip-17.mp4')).map((line) => `${line.kind} ${line.id}`),
    [`stored ${id}`, `sent ${id}`, `delivered ${id}`],
  );
  t.same(await audit('url=clip-99'), []);
  await use.restart();
  t.equal((await audit('url=clip-17.mp4')).length, 3, 'also after a restart');
  t.equal((await use.admin('/v1/queue/audit')).status, 400);
  await use.stop();
});

t.test('the audit trail tells of each try what the one before came to', async (t) => {
  const use = await scene(testdir(t), [destinationOf('dashcam')]);
  const id = String((await use.put('/clip-17.mp4', randomBytes(1000))).headers['layby-entry']);
  const entries = async (): Promise<{ attempts: number }[]> =>
    JSON.parse((await use.admin('/v1/queue')).text);
  while ((await entries())[0]!.attempts < 2);
  use.link.up = true;
  await use.until(() => use.arrived.size === 1);
  while ((await entries()).length > 0); // delivered is noted after the answer
  const lines: Line[] = JSON.parse((await use.admin(`/v1/queue/audit?id=${id}`)).text);
  t.match(lines, [
    { kind: 'stored' },
    { kind: 'sent', detail: 'try 1' },
    { kind: 'sent', detail: 'try 2, after: no link (UF)' },
    { kind: 'sent', detail: 'try 3, after: no link (UF)' },
  ]);
  t.match(lines.at(-1), { kind: 'delivered', detail: /^200 on try \d+$/ });
  t.match((await use.admin('/metrics')).text, /layby_entries_total\{[^}]*event="sent"\} \d+/);
  await use.stop();
});

t.test('without room the app hears 507 with Retry-After before it has sent its body', async (t) => {
  const dir = testdir(t);
  const use = await scene(dir, [destinationOf('small', { quota: 100_000 }), destinationOf('wide')], {
    quota: 8_000_000,
  });
  for (const [host, bytes, detail] of [
    ['small.example', 200_000, /quota of small is 100000 bytes/],
    ['wide.example', 9_000_000, /quota is 8000000/],
  ] as const) {
    const answer = await new Promise<{ status: number; retryAfter: unknown; type: unknown; text: string }>(
      (resolve, reject) => {
        const sent = request(
          {
            socketPath: use.socket,
            method: 'PUT',
            path: '/x',
            headers: { host, 'content-length': bytes },
          },
          async (response) => {
            let text = '';
            for await (const piece of response) text += piece;
            const { 'retry-after': retryAfter, 'content-type': type } = response.headers;
            resolve({ status: response.statusCode!, retryAfter, type, text });
            sent.destroy();
          },
        );
        sent.on('error', reject);
        sent.write('only the beginning');
      },
    );
    t.match(answer, { status: 507, retryAfter: '30', type: 'application/problem+json', text: detail });
  }
  t.equal((await use.put('/ok', randomBytes(50_000))).status, 307);
  await use.stop();
});

t.test('an encrypted queue stores and replays; its key comes by its name', async (t) => {
  const dir = testdir(t, { key: 'ab'.repeat(32) });
  const use = await scene(`${dir}/data`, [destinationOf('dashcam')], { storeKey: `${dir}/key` });
  t.equal((await use.put('/x', randomBytes(10_000))).status, 307);
  await use.restart();
  use.link.up = true;
  await use.until(() => use.arrived.get('/x') === 10_000);
  await use.stop();
});
