// A request that met a connection which the server had closed is sent once more, and nothing else is.

import { Readable } from 'node:stream';
import t from 'tap';
import type { Answer, Egress, RequestSender, SendOptions } from '../../src/egress/egress.ts';
import { isReset, RESET_WITHIN_MS, reconnecting } from '../../src/egress/reconnect.ts';
import { RepeatableBody } from '../../src/egress/repeatable-body.ts';

t.test('a reset is known by its flag and by how soon it came', async (t) => {
  for (const [value, tookMs, is] of [
    ['UC upstream_reset_before_response_started{connection_termination}', 100, true],
    ['UR', 100, true],
    ['UC,URX details', 100, true],
    ['UF upstream_reset_before_response_started{connection_timeout}', 100, false],
    ['UC', RESET_WITHIN_MS, false],
    ['', 100, false],
  ] as const)
    t.equal(isReset(value, tookMs), is, `${value} after ${tookMs} ms`);
});

const answers = (...resets: boolean[]) => {
  const connections: (string | undefined)[] = [];
  const egress: RequestSender = {
    send: async (...[, , , { connection }]: Parameters<Egress['send']>): Promise<Answer> => {
      connections.push(connection);
      const isReset = resets.shift() ?? false;
      return {
        ...{ status: isReset ? 503 : 200, headers: [], body: Readable.from([]) },
        ...(isReset && { noLink: 'UC', isReset }),
      };
    },
  };
  return { egress, connections };
};

const ask = (through: RequestSender, options: SendOptions = { signal: new AbortController().signal }) =>
  through.send({} as never, {} as never, { pieces: Readable.from([]) }, options);

const run = (egress: RequestSender, { signal = new AbortController().signal, isLost = true } = {}) =>
  reconnecting(egress, signal, ask, ({ noLink }) => isLost && noLink !== undefined);

t.test('it is sent once more over a connection of its own, and no more than once', async (t) => {
  const once = answers(true);
  t.equal((await run(once.egress)).status, 200);
  t.equal(once.connections.length, 2);
  t.equal(once.connections[0], undefined);
  t.match(once.connections[1], /./);
  const twice = answers(true, true, true);
  t.equal((await run(twice.egress)).status, 503);
  t.equal(twice.connections.length, 2);
});

t.test('nothing is sent again where it was no reset, nobody wants it, or it may not be', async (t) => {
  const fine = answers(false);
  await run(fine.egress);
  t.equal(fine.connections.length, 1);
  const gone = answers(true);
  await run(gone.egress, { signal: AbortSignal.abort() });
  t.equal(gone.connections.length, 1);
  const not = answers(true);
  await run(not.egress, { isLost: false });
  t.equal(not.connections.length, 1);
});

const read = async (pieces: AsyncIterable<Buffer>): Promise<string> => {
  let text = '';
  for await (const piece of pieces) text += piece;
  return text;
};

t.test('a body that was read to some point is read from its beginning again', async (t) => {
  for (const taken of [0, 1, 2, 3]) {
    const body = new RepeatableBody(Readable.from(['ab', 'cd', 'ef'].map(Buffer.from)), 100);
    const first = body.pieces();
    for (let n = 0; n < taken; n += 1) await first.next();
    await first.return(undefined);
    t.ok(body.isWhole);
    t.equal(await read(body.pieces()), 'abcdef', `after ${taken} pieces`);
  }
});

t.test('what one reader had asked for and did not take is not lost', async (t) => {
  const channel = new TransformStream<Buffer, Buffer>();
  const writer = channel.writable.getWriter();
  const body = new RepeatableBody(channel.readable.values(), 100);
  const first = body.pieces();
  void first.next();
  void first.return(undefined);
  const again = read(body.pieces());
  await writer.write(Buffer.from('late'));
  await writer.close();
  t.equal(await again, 'late');
});

t.test('a body that is longer than the limit is passed on, and not kept', async (t) => {
  const body = new RepeatableBody(Readable.from(['ab', 'cd', 'ef'].map(Buffer.from)), 3);
  t.equal(await read(body.pieces()), 'abcdef');
  t.notOk(body.isWhole);
});
