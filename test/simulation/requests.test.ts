import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import t from 'tap';
import { ClientDisconnected, clientSignal } from '../../src/queue/client-signal.ts';
import { readBody } from '../../src/queue/read-body.ts';
import { request, type SimulatedCall } from './requests.ts';
import { Simulation } from './scheduler.ts';

const simulated = async (seed: number, run: (simulation: Simulation) => Promise<void>): Promise<void> => {
  const simulation = new Simulation({ seed });
  simulation.install();
  try {
    await run(simulation);
  } finally {
    simulation.uninstall();
  }
};

const headers = ['Host', 'cam.example', 'X-Twice', 'a', 'x-twice', 'b'];

/** Answers with what it read. */
const echo = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const pieces: Buffer[] = [];
  const signal = clientSignal(request, response);
  await readBody({ request, response, signal }, (piece) => {
    pieces.push(piece);
    return new Promise((resolve) => setTimeout(resolve, 1));
  });
  response.setHeader('X-Trailers', request.rawTrailers.join());
  response.writeHead(201, { 'X-Url': request.url });
  for (const piece of pieces) response.write(piece);
  response.end();
};

const over = (simulation: Simulation, call: SimulatedCall): Promise<void> =>
  simulation.run(() => call.ended, { within: 600_000 });

t.test('a request reaches the server in pieces, and its answer the client', async (t) => {
  for (let seed = 1; seed <= 10; seed++)
    await simulated(seed, async (simulation) => {
      const body = randomBytes(simulation.between(0, 300_000));
      const chunked = seed % 2 === 0;
      const trailers = chunked ? ['X-Sum', '1'] : [];
      const options = { method: 'PUT', path: '/clip', headers, body, chunked, trailers };
      const call = request(simulation, echo, options);
      await over(simulation, call);
      t.match(call.request.headers, { host: 'cam.example', 'x-twice': 'a, b' });
      t.match(call.answer, { status: 201, whole: true });
      t.same(call.answer?.headers.slice(0, 4), ['X-Trailers', trailers.join(), 'X-Url', '/clip']);
      t.ok(call.answer?.body.equals(body), `${body.length} bytes`);
      t.ok(call.answer!.endAt! >= call.answer!.headAt);
    });
});

t.test('a body waits while the server does not read', async (t) => {
  await simulated(1, async (simulation) => {
    const call = request(simulation, (request) => request.on('data', () => request.pause()), {
      ...{ method: 'PUT', path: '/', headers, body: randomBytes(5_000_000), pieceBytes: 65_536 },
    });
    await simulation.run(simulation.now + 60_000);
    t.ok(call.sent < 300_000, `${call.sent} bytes`);
  });
});

t.test(
  'a server sees that the client hung up in the middle of the body, or while it waits for the answer',
  async (t) => {
    await simulated(1, async (simulation) => {
      const errors: unknown[] = [];
      let closed = 0;
      const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
        response.on('close', () => closed++);
        const signal = clientSignal(request, response);
        await readBody({ request, response, signal }, () => undefined).catch((error) => errors.push(error));
      };
      const body = randomBytes(100_000);
      const options = { method: 'PUT', path: '/', headers, body };
      const torn = request(simulation, serve, { ...options, hangUpAfter: 50_000 });
      await simulation.run(() => torn.ended && closed === 1);
      t.ok(errors[0] instanceof ClientDisconnected);
      t.equal(torn.answer, undefined);
      t.equal(torn.sent, 50_000);
      const waits = request(simulation, serve, options);
      await simulation.run(() => waits.request.readableEnded);
      waits.hangUp();
      await simulation.run(() => closed === 2);
      t.ok(waits.response.destroyed);
      t.equal(errors.length, 1);
    });
  },
);

t.test('a client sees that the server cut the connection', async (t) => {
  await simulated(1, async (simulation) => {
    const serve = (_: IncomingMessage, response: ServerResponse): void => {
      response.writeHead(200, { 'Content-Length': 100 });
      response.write('half', () => response.destroy());
    };
    const call = request(simulation, serve, { method: 'GET', path: '/', headers });
    await over(simulation, call);
    t.match(call.answer, { status: 200, whole: false });
    t.equal(String(call.answer?.body), 'half');
    const none = request(simulation, (_, response) => response.destroy(), {
      method: 'GET',
      path: '/',
      headers,
    });
    await over(simulation, none);
    t.equal(none.answer, undefined);
    const killed = request(simulation, () => {}, { method: 'GET', path: '/', headers });
    killed.kill();
    t.ok(killed.ended);
    t.equal(killed.answer, undefined);
  });
});

t.test('informational answers come before the answer', async (t) => {
  await simulated(1, async (simulation) => {
    const serve = (_: IncomingMessage, response: ServerResponse): void => {
      response.writeContinue();
      response.writeHead(204).end();
    };
    const call = request(simulation, serve, { method: 'PUT', path: '/', headers, body: Buffer.from('x') });
    await over(simulation, call);
    t.match(call.answer, { status: 204, whole: true, interim: [100] });
  });
});
