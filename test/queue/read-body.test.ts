// The body of a request and what its client may do meanwhile, with streams in the place of sockets.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable, Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { abortable, ClientDisconnected, clientSignal } from '../../src/queue/client-signal.ts';
import { readBody } from '../../src/queue/read-body.ts';
import { streamResponse, withFirstChunk } from '../../src/queue/stream-response.ts';

const never = (): undefined => {
  throw new Error('there is nothing to read');
};

const clientOf = (headers: Record<string, string> = {}) => {
  const request = Object.assign(new Readable({ read() {} }), {
    ...{ headers, httpVersion: '1.1', complete: false },
  }) as unknown as IncomingMessage;
  const written: Buffer[] = [];
  let continues = 0;
  const response = Object.assign(
    new Writable({
      highWaterMark: 10,
      write: (chunk: Buffer, _, done) => {
        written.push(chunk);
        setImmediate(done);
      },
    }),
    { writeContinue: () => (continues += 1) },
  ) as unknown as ServerResponse;
  return {
    ...{ request, response, signal: clientSignal(request, response), written },
    send: (text: string) => request.push(text),
    end: () => {
      request.complete = true;
      request.push(null);
    },
    continues: () => continues,
  };
};

t.test('a body is read in order, one chunk at a time, whether it is here or comes later', async (t) => {
  const client = clientOf();
  client.send('one');
  const read: string[] = [];
  let busy = false;
  const body = readBody(client, async (chunk) => {
    t.notOk(busy);
    busy = true;
    await turn();
    busy = false;
    read.push(String(chunk));
  });
  await turn();
  client.send('two');
  await turn();
  await turn();
  client.send('three');
  client.end();
  await body;
  t.equal(read.join(''), 'onetwothree');
  await readBody(client, never);
});

t.test('a body that is refused may still be read on, and its response sent', async (t) => {
  const client = clientOf();
  client.send('refused');
  await t.rejects(
    readBody(client, () => Promise.reject(new Error('no'))),
    { message: 'no' },
  );
  const later = clientOf();
  const refused = readBody(later, () => Promise.reject(new Error('no')));
  await turn();
  later.send('refused');
  await t.rejects(refused, { message: 'no' });
  for (const { request, response, signal, send, end } of [client, later]) {
    t.notOk(request.destroyed || response.destroyed || signal.aborted);
    send('rest');
    end();
    const rest: string[] = [];
    await readBody({ request, response, signal }, (chunk) => void rest.push(String(chunk)));
    t.same(rest, ['rest']);
  }
});

t.test('a client that hangs up is noticed before, while and after its body is read', async (t) => {
  const before = clientOf();
  before.send('unread');
  before.request.destroy();
  await turn();
  await t.rejects(readBody(before, never), ClientDisconnected);

  const meanwhile = clientOf();
  const body = readBody(meanwhile, () => undefined);
  await turn();
  meanwhile.send('one');
  await turn();
  meanwhile.request.destroy(new Error('aborted'));
  await t.rejects(body, ClientDisconnected);

  const inChunk = clientOf();
  inChunk.send('one');
  const taken = readBody(inChunk, async () => {
    inChunk.response.destroy();
    inChunk.request.destroy();
    await turn();
  });
  inChunk.send('two');
  await t.rejects(taken, ClientDisconnected);

  const after = clientOf();
  after.end();
  await readBody(after, () => undefined);
  const waits = abortable(new Promise(() => {}), after.signal);
  after.response.destroy();
  await t.rejects(waits, ClientDisconnected);
  await t.rejects(abortable(Promise.resolve(), after.signal), ClientDisconnected);

  const answered = clientOf();
  answered.end();
  await readBody(answered, () => undefined);
  answered.response.end('all');
  await turn();
  await turn();
  t.ok(answered.response.destroyed);
  t.notOk(answered.signal.aborted, 'it had its response');
});

t.test('a client that asks first is told to go on once, when its body is wanted', async (t) => {
  const client = clientOf({ expect: '100-continue' });
  const body = readBody(client, () => undefined);
  t.equal(client.continues(), 1);
  client.send('one');
  client.end();
  await body;
  await readBody(client, () => undefined);
  t.equal(client.continues(), 1);

  const bold = clientOf({ expect: '100-continue' });
  bold.send('one');
  bold.end();
  await readBody(bold, () => undefined);
  t.equal(bold.continues(), 0, 'its body is here');
});

t.test('what is read for a response is given back, however the response ends', async (t) => {
  let open = 0;
  const chunks = async function* () {
    open += 1;
    try {
      for (let n = 0; n < 100; n += 1) yield Buffer.from(`${n},`);
    } finally {
      open -= 1;
    }
  };
  const whole = clientOf();
  await streamResponse(whole.response, await withFirstChunk(chunks()), whole.signal);
  t.match(Buffer.concat(whole.written).toString(), /^0,1,.*,99,$/);
  t.equal(open, 0);

  const gone = clientOf();
  const begun = await withFirstChunk(chunks());
  gone.response.destroy();
  await turn();
  await streamResponse(gone.response, begun, gone.signal);
  t.equal(open, 0);

  const leaves = clientOf();
  const sent = streamResponse(leaves.response, await withFirstChunk(chunks()), leaves.signal);
  await turn();
  leaves.response.destroy();
  await sent;
  t.equal(open, 0);
});
