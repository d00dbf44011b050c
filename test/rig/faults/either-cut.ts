// Now the one kind of cut, now the other, as the seed decides.

import type { Road } from '../namespaces.ts';
import { between, randomFrom } from '../random.ts';
import { blackhole } from './blackhole.ts';
import type { Fault } from './fault.ts';
import { interfaceDown } from './interface-down.ts';

export const eitherCut = (road: Road, seed: number): Fault => {
  const kinds = [blackhole(road), interfaceDown(road)];
  const random = randomFrom(seed);
  let cut: Fault | undefined;
  return {
    name: `either cut (seed ${seed})`,
    inject: async () => {
      cut = kinds[between(random, [0, 1])]!;
      await cut.inject();
    },
    clear: async () => {
      await cut?.clear();
      cut = undefined;
    },
  };
};
