import t from 'tap';
import type { Answer, SendOptions } from '../../src/egress/egress.ts';
import { newHead } from '../../src/store/conformance.ts';
import { destinationOf } from '../queue/scene.ts';
import { answers, type Behaviour, DOWN, HANGS, SimulatedNetwork, UP } from './network.ts';
import { Simulation } from './scheduler.ts';

const body = Buffer.alloc(100_000, 'x');

async function* pieces(): AsyncGenerator<Buffer> {
  for (let at = 0; at < body.length; at += 10_000) yield body.subarray(at, at + 10_000);
}

type Ended = { answer?: Answer; text?: string; error?: Error };

const read = async (answer: Answer): Promise<Ended> => {
  let text = '';
  for await (const piece of answer.body) text += piece;
  return { answer, text };
};

/** Sends one request, and says how it ended. */
const tried = async (
  behaviour: Behaviour,
  run: (simulation: Simulation, network: SimulatedNetwork) => void = () => {},
  options: Partial<SendOptions> & { answerTimeout?: number } = {},
): Promise<Ended & { network: SimulatedNetwork; took: number }> => {
  const simulation = new Simulation({ seed: 1 });
  simulation.install();
  try {
    const network = new SimulatedNetwork(simulation, { keepBodies: true });
    network.behaves('cam', behaviour);
    const { answerTimeout, ...more } = options;
    const destination = { ...destinationOf('cam'), ...(answerTimeout !== undefined && { answerTimeout }) };
    const began = performance.now();
    let ended: Ended | undefined;
    const outgoing = { pieces: pieces(), bytes: body.length };
    void network.egress
      .send(destination, newHead({ id: 'e1' }), outgoing, { signal: new AbortController().signal, ...more })
      .then(read)
      .catch((error: Error) => ({ error }))
      .then((how) => {
        ended = how;
      });
    run(simulation, network);
    await simulation.run(() => ended !== undefined, { within: 600_000 });
    return { ...ended!, network, took: performance.now() - began };
  } finally {
    simulation.uninstall();
  }
};

t.test('a destination that is up has the whole request, and its answer comes back', async (t) => {
  const { answer, text, network } = await tried({
    kind: 'answer',
    reply: { status: 201, headers: ['A', 'b'], body: 'thanks' },
  });
  t.match(answer, { status: 201, headers: ['A', 'b'], noLink: undefined });
  t.equal(text, 'thanks');
  t.match(network.deliveries, [
    { id: 'e1', destination: 'cam', bytes: body.length, whole: true, status: 201 },
  ]);
  t.ok(network.deliveries[0]!.body!.equals(body));
  t.ok(network.deliveries[0]!.ended! > network.deliveries[0]!.began);
  t.equal(network.open.length, 0);
});

t.test('a destination can refuse, be away, hang, break, answer early, and lose its answer', async (t) => {
  const cases: [
    name: string,
    Behaviour,
    expected: Record<string, unknown>,
    delivered: number,
    bytes: number,
  ][] = [
    ['refuses', answers(401), { answer: { status: 401 } }, 0, body.length],
    ['is away', DOWN, { answer: { status: 503, noLink: 'UF' } }, 0, 0],
    ['is lost', { kind: 'silent' }, { answer: { noLink: 'UC' } }, 0, body.length],
    ['is lost early', { kind: 'silent', afterBytes: 15_000 }, { answer: { noLink: 'UC' } }, 0, 15_000],
    [
      'is slow',
      { kind: 'answer', reply: { status: 200 }, after: 300_000 },
      { answer: { status: 200 } },
      1,
      body.length,
    ],
    ['breaks', { kind: 'break', afterBytes: 25_000 }, { error: { message: /was reset/ } }, 0, 25_000],
    [
      'breaks, as Envoy says',
      { kind: 'break', afterBytes: 25_000, flag: 'UC' },
      { answer: { noLink: 'UC' } },
      0,
      25_000,
    ],
    [
      'answers early',
      { kind: 'answer', reply: { status: 413 }, early: 5_000 },
      { answer: { status: 413 } },
      0,
      5_000,
    ],
    [
      'loses its answer',
      { kind: 'answer', reply: { status: 200 }, lost: 'reset' },
      { error: { message: /reset/ } },
      1,
      body.length,
    ],
    [
      'loses it, as Envoy says',
      { kind: 'answer', reply: { status: 200 }, lost: 'flag' },
      { answer: { noLink: 'UC' } },
      1,
      body.length,
    ],
    [
      'breaks off its answer',
      { kind: 'answer', reply: { status: 200, body: 'abc' }, bodyBreaks: true },
      { error: { message: 'the answer broke off' } },
      1,
      body.length,
    ],
  ];
  for (const [name, behaviour, expected, delivered, bytes] of cases) {
    const how = await tried(behaviour);
    t.match(how, expected, name);
    t.equal(how.network.deliveries.length, delivered, `${name}: delivered`);
    t.equal(how.network.attempts[0]?.bytes, bytes, `${name}: bytes`);
    t.equal(how.network.open.length, 0);
  }
});

t.test(
  'a request ends when its signal does, when its connection is cut, and when the answer takes too long',
  async (t) => {
    const controller = new AbortController();
    const stop = (): void => void setTimeout(() => controller.abort(new Error('stop')), 30);
    const aborted = await tried(UP, stop, { signal: controller.signal });
    t.match(aborted, { error: { message: 'stop' }, took: 30 });
    t.same(aborted.network.deliveries, []);
    const cut = await tried(HANGS, (_, network) => void setTimeout(() => network.cut('cam'), 30_000));
    t.match(cut, { error: { message: 'the connection was reset' }, took: 30_000 });
    const late = await tried(HANGS, () => {}, { answerTimeout: 5000 });
    t.match(late.error, { message: 'no answer within 5 s' });
  },
);
