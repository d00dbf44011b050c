// An entry that the destination refuses for ever while it takes others becomes a dead letter within the policy's bound; in an outage
// nothing does.

import t from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import { giveUpIn, isGivenUp, isStuck, pauseLimit, refusedAlone } from '../../src/replay/give-up.ts';
import { Refusals } from '../../src/replay/refusals.ts';
import { put } from '../../src/store/conformance.ts';
import type { Entry, Stuck } from '../../src/store/store.ts';
import { destinationOf } from '../queue/scene.ts';
import { clock, type ReplayScene, startReplay } from './scene.ts';

t.setTimeout(60_000);

const S = 1_000;
const MIN = 60 * S;
const HOUR = 60 * MIN;
const DAY = 24 * HOUR;

t.test('time counts between two refusals with a success of another request between them', async (t) => {
  const refusals = new Refusals(() => 0.5);
  let stuck: Stuck | undefined;
  const refused = (now: number, status = 500): Stuck | undefined => {
    stuck = refusals.refused({ id: 'a', ...(stuck && { stuck }) }, { status, giveUpAfter: HOUR }, now, now);
    return stuck;
  };
  t.equal(refused(0), undefined);
  t.equal(refused(MIN), undefined, 'nothing else was taken');
  refusals.delivered('b', 2 * MIN);
  t.same(refused(3 * MIN), { since: 3 * MIN, answers: 1, counted: 2 * MIN });
  t.same(refused(30 * DAY), { since: 3 * MIN, answers: 1, counted: 2 * MIN }, 'an outage of a month');
  refusals.delivered(undefined, 31 * DAY);
  t.same(
    refused(32 * DAY),
    { since: 3 * MIN, answers: 2, counted: 12 * MIN },
    'a sixth of the bound at most, however long nobody asked',
  );
  refusals.delivered('c', 33 * DAY);
  t.match(refused(33 * DAY + MIN, 503), { answers: 3, counted: 12 * MIN + (10 * MIN) / 24 });
  refusals.forget('a');
  refusals.delivered('d', 34 * DAY);
  t.match(refused(35 * DAY), { answers: 3 }, 'after a restart the first one counts nothing');
});

t.test(
  'the bound holds for 500 and 403, and a day of time for answers that speak of the server',
  async (t) => {
    for (const [status, bound] of [
      [500, HOUR],
      [403, HOUR],
      [503, DAY],
      [429, DAY],
      [502, DAY],
    ] as const) {
      let stuck: Stuck | undefined;
      let time = 0;
      for (; time < 9 * DAY && !(stuck && isGivenUp(stuck, HOUR)); time += 5 * MIN)
        stuck = refusedAlone(stuck, { status, elapsed: 5 * MIN, giveUpAfter: HOUR, at: time });
      t.ok(Math.abs(time - bound) <= 5 * MIN, `${status}: ${time / MIN} min`);
      t.equal(giveUpIn({ since: 0, answers: 1, counted: 0 }, status, HOUR), bound);
    }
  },
);

t.test('pauses grow up to a twelfth of the bound once an entry is known to be refused alone', async (t) => {
  const limit = (answers: number, giveUpAfter = HOUR) =>
    pauseLimit({ since: 0, answers, counted: 0 }, 30 * S, giveUpAfter);
  t.equal(pauseLimit(undefined, 30 * S, HOUR), 30 * S);
  t.same(
    [1, 8, 9, 10, 11, 12, 1_000].map((answers) => limit(answers) / S),
    [30, 30, 60, 120, 240, 300, 300],
  );
  t.equal(limit(100, MIN), 30 * S, 'never below the pauses of others');
  t.notOk(isStuck(undefined));
  t.notOk(isStuck({ since: 0, answers: 2, counted: 0 }));
  t.ok(isStuck({ since: 0, answers: 3, counted: 0 }));
});

const plain: Destination = destinationOf('api');
const withBound: Destination = {
  ...plain,
  replay: { ...plain.replay, retry: { max: 200, giveUpAfter: HOUR } },
};
const signed: Destination = {
  ...withBound,
  upstream: { url: 'http://api.example', sign: { aws: { service: 'execute-api', region: 'r' } } },
};

const store = async (scene: ReplayScene, path: string): Promise<string> =>
  (await put(scene.store, 'x', { destination: 'api', url: `http://api.example${path}`, orderKey: path })).id;

const turn = (): Promise<void> => new Promise(setImmediate);

const isGone = async (scene: ReplayScene, id: string): Promise<void> => {
  while (await scene.store.get(id)) await turn();
};

/** Resolves with the entry when it rests after so many tries: it waits, or is a dead letter. */
const rests = async (scene: ReplayScene, id: string, tries: number): Promise<Entry> => {
  for (;;) {
    const entry = await scene.store.get(id);
    if (entry?.state === 'dead' || (entry?.state === 'stored' && entry.attempts >= tries)) return entry;
    await turn();
  }
};

const refuses =
  (path: string, status: number, body = ''): ReplayScene['answer'] =>
  (asked, request, response) =>
    void request.resume().on('end', () => response.writeHead(asked.path === path ? status : 200).end(body));

/** Another entry is delivered, time passes, and the entry is tried again; until it is a dead letter. Returns how long that took, ms. */
const untilDead = async (
  scene: ReplayScene,
  id: string,
  later: (ms: number) => void,
  most: number,
  tries = 1,
): Promise<{ entry: Entry; took: number }> => {
  for (let took = 0; took <= most; took += 5 * MIN) {
    const entry = await rests(scene, id, tries);
    if (entry.state === 'dead') return { entry, took };
    await isGone(scene, await store(scene, `/other/${took}`));
    later(5 * MIN);
    tries += 1;
    for (const up of [false, true]) scene.replay.link('api', { up, by: 'kernel', since: 0 });
  }
  throw new Error(`it still waits: ${JSON.stringify(await scene.store.get(id))}`);
};

for (const [status, destination, words] of [
  [500, withBound, 'app error'],
  [403, signed, 'AccessDenied'],
  [423, plain, 'locked'],
] as const)
  t.test(`a constant ${status} for one entry makes a dead letter within the bound`, async (t) => {
    const later = clock(t);
    const scene = await startReplay(t, destination);
    scene.answer = refuses('/stuck', status, words);
    const id = await store(scene, '/stuck');
    const { entry, took } = await untilDead(scene, id, later, HOUR + 15 * MIN);
    t.ok(took >= HOUR, `${took / MIN} min`);
    t.match(entry.reason, new RegExp(`^${status}: refused \\d+ times since .*; the answer: ${words}$`));
    t.match(entry.answer, { status, body: Buffer.from(words) });
  });

t.test('the bound goes on over restarts', async (t) => {
  const later = clock(t);
  const scene = await startReplay(t, withBound);
  scene.answer = refuses('/stuck', 500);
  const id = await store(scene, '/stuck');
  let restarts = 0;
  for (let tries = 1; ; tries += 2) {
    const { state } = await rests(scene, id, tries);
    if (state === 'dead') break;
    t.ok(restarts < 20, 'in the end');
    await isGone(scene, await store(scene, `/other/${restarts}`));
    later(5 * MIN);
    for (const up of [false, true]) scene.replay.link('api', { up, by: 'kernel', since: 0 });
    if ((await rests(scene, id, tries + 1)).state === 'dead') break;
    await scene.again();
    restarts += 1;
  }
  t.ok(restarts >= 11 && restarts <= 13, `${restarts} trips of five minutes`);
});

t.test('where the destination refuses everything for days nothing becomes a dead letter', async (t) => {
  const later = clock(t);
  const scene = await startReplay(t, withBound);
  await isGone(scene, await store(scene, '/before'));
  scene.answer = (_, request, response) =>
    void request.resume().on('end', () => response.writeHead(500).end());
  const ids = await Promise.all(['/a', '/b', '/c'].map((path) => store(scene, path)));
  for (let tries = 1; tries <= 30; tries++) {
    for (const id of ids) t.equal((await rests(scene, id, tries)).state, 'stored');
    later(6 * HOUR);
    for (const up of [false, true]) scene.replay.link('api', { up, by: 'kernel', since: 0 });
  }
  scene.answer = (_, request, response) => void request.resume().on('end', () => response.end());
  for (const up of [false, true]) scene.replay.link('api', { up, by: 'kernel', since: 0 });
  for (const id of ids) await isGone(scene, id);
});

for (const status of [405, 501, 505])
  t.test(`${status} makes a dead letter at once, with the answer`, async (t) => {
    const scene = await startReplay(t, withBound);
    scene.answer = refuses('/a', status, 'never');
    const entry = await rests(scene, await store(scene, '/a'), 2);
    t.match(entry, { state: 'dead', attempts: 0, reason: `${status}: never`, answer: { status } });
  });

t.test('what the policy lists in retries.on is no answer, also 501', async (t) => {
  const scene = await startReplay(t, { ...withBound, retries: { on: [501], attempts: 2 } });
  scene.answer = refuses('/a', 501);
  t.match(await rests(scene, await store(scene, '/a'), 3), { state: 'stored' });
});
