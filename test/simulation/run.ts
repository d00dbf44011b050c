// Runs seeds of the simulation in this process: `node test/simulation/run.ts FIRST COUNT [STEP]`. Prints what fails, with its seed;
// LAYBY_TRACE=N prints the last N lines of its trace, LAYBY_FIRST=1 ends with the first failure.

import { runSeed } from './workload.ts';

const [first = 1, count = 1, step = 1] = process.argv.slice(2).map(Number);
const total = { seeds: 0, failed: 0, events: 0, told: 0, receipts: 0, deliveries: 0, restarts: 0 };
const began = process.hrtime.bigint();
for (let n = 0; n < count; n++) {
  const seed = first + n * step;
  total.seeds += 1;
  try {
    const { events, told, receipts, deliveries, restarts } = await runSeed(
      seed,
      process.env.LAYBY_TRACE ? { trace: Number(process.env.LAYBY_TRACE) } : {},
    );
    total.events += events;
    total.told += told;
    total.receipts += receipts;
    total.deliveries += deliveries;
    total.restarts += restarts;
  } catch (error) {
    total.failed += 1;
    if (process.env.LAYBY_FIRST) n = count;
    console.log(`seed ${seed} failed: node test/simulation/run.ts ${seed}`);
    console.log(count === 1 ? error : String(error).split('\n').slice(0, 4).join('\n'));
  }
}
const seconds = Number(process.hrtime.bigint() - began) / 1e9;
console.log(JSON.stringify({ ...total, seconds: Number(seconds.toFixed(1)) }));
process.exitCode = total.failed > 0 ? 1 : 0;
