import { Command } from 'commander';
import { parseDuration } from '../policy/units.ts';
import type { DrainReport } from '../replay/drain.ts';
import { adminOption, ask } from './admin-client.ts';
import { table } from './table.ts';

/** `layby drain`: before the ignition goes off. */
export const drainCommand = () =>
  new Command('drain')
    .description('send what can be sent until a deadline, and say what is left')
    .option('--deadline <duration>', 'how long it may take', '30s')
    .option('--json', 'for programs')
    .addOption(adminOption())
    .action(run);

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

async function run({ deadline, json, admin }: { deadline: string; json?: boolean; admin: string }) {
  const ms = parseDuration(deadline);
  const report = await ask<DrainReport>(admin, 'POST', `/v1/queue/drain?ms=${ms}`);
  const { sent, left, rate, needs, took } = report;
  if (left.length > 0) process.exitCode = 1;
  if (json) {
    console.log(JSON.stringify(report, undefined, 2));
    return;
  }
  console.log(`sent ${sent.entries} entries, ${sent.bytes} bytes in ${seconds(took)}`);
  if (left.length === 0) {
    console.log('nothing is left');
    return;
  }
  const rows = left.map(({ destination, class: cls, entries, bytes }) => [
    ...[destination, cls ?? '', String(entries), String(bytes)],
  ]);
  console.log(table(['LEFT', 'CLASS', 'ENTRIES', 'BYTES'], rows));
  console.log(
    needs === null
      ? 'nothing moved, so nobody can say how long the rest would take'
      : `the rest would take about ${seconds(needs)} at ${rate} bytes per second`,
  );
}
