// Ten thousand requests on a hundred keys while the link flaps, with both orders that let requests pass. LAYBY_SEED repeats a run.

import t from 'tap';
import { underFlapping } from '../laws/flapping.ts';
import { noRoad } from '../rig/namespaces.ts';

t.setTimeout(1_500_000);

const seed = Number(process.env.LAYBY_SEED ?? Date.now() % 2 ** 31);
const requests = Number(process.env.LAYBY_REQUESTS ?? 10_000);

t.test(`${requests} requests on 100 keys, the link flapping (LAYBY_SEED=${seed})`, { skip: noRoad }, (t) =>
  underFlapping(t, { requests, keys: 100, concurrency: 8, pause: 100, seed }),
);

t.test(`the same with patience (LAYBY_SEED=${seed})`, { skip: noRoad }, (t) =>
  underFlapping(t, {
    requests: requests / 5,
    keys: 100,
    concurrency: 8,
    pause: 100,
    seed,
    store: { patience: '200ms' },
  }),
);
