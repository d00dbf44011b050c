// Headers and queries that no case of test/rig/signed-requests.ts foresaw, put together by a seed, through a real sidecar that signs: directly
// and replayed, for S3 and for others. What leaves has a signature that the strictest reader takes, and means what the app said.
//
// LAYBY_SEED repeats one seed, LAYBY_REQUESTS says how many requests it sends. A seed that has found something stays in SEEDS.

import t from 'tap';
import { SIGNED_WAYS, signingFaults, startSigned } from '../e2e/signatures.ts';
import { randomFrom } from '../rig/random.ts';
import { randomShape } from '../rig/signed-requests.ts';

const SEEDS = process.env.LAYBY_SEED ? [Number(process.env.LAYBY_SEED)] : [1, 2, 3, 4];
const REQUESTS = Number(process.env.LAYBY_REQUESTS ?? 1000);

t.setTimeout(900_000);

t.test('requests made by a seed', async (t) => {
  const signed = await startSigned(t);
  for (const seed of SEEDS) {
    const random = randomFrom(seed);
    for (const way of SIGNED_WAYS) {
      const shapes = Array.from({ length: REQUESTS }, () => randomShape(random));
      const faults = await signingFaults(signed, way, shapes);
      t.same(faults.slice(0, 5), [], `LAYBY_SEED=${seed} ${way.host}`);
    }
  }
});
