// kill -9 of one process. Starting it again is for whoever started it.

import { gone, sigkill } from '../processes.ts';
import type { Fault } from './fault.ts';

/** `pid` is asked at the moment of the kill, since a part that was started again has another one. */
export const kill = (part: string, pid: () => number): Fault => ({
  name: `kill -9 ${part}`,
  inject: async () => {
    const victim = pid();
    sigkill(victim);
    await gone([victim]);
  },
  clear: async () => {},
});
