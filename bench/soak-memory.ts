// Loaded into the Node processes of the mesh before their programs: once a second it writes down what the process holds, for soak.ts.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const EVERY_MS = 1_000;
const dir = process.env.LAYBY_SOAK_DIR;

if (dir !== undefined)
  setInterval(() => {
    const { heapTotal, heapUsed, external, arrayBuffers } = process.memoryUsage();
    const text = JSON.stringify({ heapTotal, heapUsed, external, arrayBuffers });
    try {
      writeFileSync(join(dir, `${process.pid}.json`), text);
    } catch {
      // The soak is over, and its directory gone.
    }
  }, EVERY_MS).unref();
