// kill -9 of the queue while bodies come that the sidecar cannot send a second time: their apps hear that the queue went away, in our words, and
// send again. What it could send again, it does, and nobody sees anything.

import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { startLayby } from '../rig/layby.ts';
import { Oracle } from '../rig/oracle.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(180_000);

const MIB = 1024 * 1024;

t.test(
  'bodies on their way into a queue that is killed are answered 503, and not as if the store were full',
  async (t) => {
    const dir = testdir(t);
    const oracle = await Oracle.start({ file: join(dir, 'cloud.jsonl') });
    t.teardown(() => oracle.stop());
    const layby = await startLayby({
      data: join(dir, 'data'),
      policy: policyOf(
        { name: 'stored', url: oracle.url, store: { mode: 'always', receipt: 'accepted' } },
        { name: 'online', url: oracle.url, store: { receipt: 'accepted' } },
      ),
    });
    t.teardown(() => layby.kill9('all'));
    await untilSidecar(layby);
    const [host, port] = layby.outbound.split(':');
    const begin = (name: string, path: string, bytes: number | undefined) => {
      const client = request({
        ...{ host, port, method: 'PUT', path, agent: false },
        headers: {
          host: `${name}.example`,
          ...(bytes === undefined ? { 'transfer-encoding': 'chunked' } : { 'content-length': bytes }),
        },
      });
      client.on('error', () => {});
      const answered = (once(client, 'response') as Promise<[IncomingMessage]>).then(async ([answer]) => ({
        status: answer.statusCode,
        type: answer.headers['content-type'],
        retryAfter: answer.headers['retry-after'],
        text: String(Buffer.concat(await answer.toArray())),
      }));
      return { client, answered };
    };
    /** Ends when the bytes are written, or when the answer is there or the connection gone: from then on the sidecar reads nothing more. */
    const write = ({ client, answered }: ReturnType<typeof begin>, bytes: number) =>
      Promise.race([
        new Promise<void>((resolve) => client.write(Buffer.alloc(bytes), () => resolve())),
        answered.then(
          () => {},
          () => {},
        ),
      ]);

    const isAway = (t: Test, answer: Awaited<ReturnType<typeof begin>['answered']>): void => {
      t.match(answer, { status: 503, type: 'application/problem+json', retryAfter: /^\d+$/ }, answer.text);
      t.match(JSON.parse(answer.text), { type: 'https://layby.dev/problems/queue-away', status: 503 });
    };

    // `before`: while the queue is there, more than is kept to be sent again, or less, so that more comes while the sidecar waits for the queue.
    for (const name of ['stored', 'online'])
      for (const [what, bytes, before] of [
        ['of known length', 40 * MIB, 8 * MIB],
        ['of known length, begun', 40 * MIB, 20_000],
        ['of unknown length', undefined, 8 * MIB],
        ['of unknown length, begun', undefined, 20_000],
      ] as const)
        await t.test(`${name}, ${what}`, async (t) => {
          const small = begin(name, '/small', 1000);
          await write(small, 500);
          const all = Array.from({ length: 4 }, (_, n) => begin(name, `/${n}`, bytes));
          const send = async (total: number): Promise<void> => {
            const piece = Math.min(total, MIB);
            await Promise.all(
              all.map(async (one) => {
                for (let at = 0; at < total && !one.client.destroyed; at += piece) await write(one, piece);
              }),
            );
          };
          await send(before);
          await layby.kill9('queue');
          if (before < MIB) await send(4 * MIB);
          for (const { answered } of all) isAway(t, await answered);
          small.client.end(Buffer.alloc(500));
          t.match(
            String((await small.answered).status),
            /^20[02]$/,
            'a small one is sent again by the sidecar',
          );
          for (;;) {
            const again = begin(name, '/again', 2 * MIB);
            again.client.end(Buffer.alloc(2 * MIB));
            const answer = await again.answered;
            if (answer.status === 200 || answer.status === 202) break;
            isAway(t, answer);
            await sleep(Number(answer.retryAfter) * 100); // as an app does, only sooner
          }
        });
    await untilDrained(layby);
  },
);
