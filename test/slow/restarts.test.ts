import t from 'tap';
import { EVERY_RESTART, underRestarts } from '../laws/restarts.ts';
import { noRoad } from '../rig/namespaces.ts';
import { between, randomFrom } from '../rig/random.ts';

t.setTimeout(1_190_000);

const RESTARTS = 100;
const seed = Number(process.env.LAYBY_SEED ?? Date.now() % 2 ** 31);

t.test(
  `in ${RESTARTS} restarts of every combination of parts no request passes an older one (LAYBY_SEED=${seed})`,
  { skip: noRoad },
  async (t) => {
    const random = randomFrom(seed);
    const all = Array.from({ length: RESTARTS }, (_, at) => EVERY_RESTART[at % EVERY_RESTART.length]!);
    for (let at = all.length - 1; at > 0; at--) {
      const other = between(random, [0, at]);
      [all[at], all[other]] = [all[other]!, all[at]!];
    }
    await underRestarts(t, all, seed);
  },
);
