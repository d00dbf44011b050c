import t from 'tap';
import { noRoad } from '../rig/namespaces.ts';
import { EVERY_RESTART, underRestarts } from './restarts.ts';

t.setTimeout(290_000);

const seed = Number(process.env.LAYBY_SEED ?? Date.now() % 2 ** 31);

t.test(
  `whichever parts die, a request never passes an older one that was stored (LAYBY_SEED=${seed})`,
  { skip: noRoad },
  async (t) => {
    // Every set of parts once, the signals in turn; the whole mesh is in restart.test.ts.
    await underRestarts(
      t,
      EVERY_RESTART.filter(({ parts }, at) => parts !== 'mesh' && at % 2 === (at >> 1) % 2),
      seed,
    );
  },
);
