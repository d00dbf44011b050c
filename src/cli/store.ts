import { join } from 'node:path';
import { Command } from 'commander';
import type { Problem } from '../store/leveldb/check.ts';
import type { SetAside } from '../store/leveldb/set-aside.ts';
import { rekeyCommand } from './store-rekey.ts';
import { table } from './table.ts';

interface CheckCommand {
  data: string;
  repair?: boolean;
  json?: boolean;
  storeKey?: string;
  discardSetAside?: boolean;
}

/** `layby store check` looks through the store of a mesh that is not running. */
export const storeCommand = () =>
  new Command('store')
    .description('the store on the disk, while nothing runs')
    .addCommand(
      new Command('check')
        .description('read every byte of it, and tell what is damaged or missing (exit code 1)')
        .option('--data <dir>', 'the data directory of layby up', 'layby-data')
        .option('--repair', 'quarantine what is damaged and mend the index; without it nothing is changed')
        .option(
          '--discard-set-aside',
          'remove what damage has left beside the store, after telling what it is',
        )
        .option('--store-key <key>', 'of an encrypted store: FILE or exec:COMMAND')
        .option('--json', 'for programs')
        .action(check),
    )
    .addCommand(rekeyCommand());

async function check({ data, repair, json, storeKey, discardSetAside }: CheckCommand): Promise<void> {
  const [{ checkStore }, setAsideCopies, { readStoreKey }] = await Promise.all([
    import('../store/leveldb/check.ts'),
    import('../store/leveldb/set-aside.ts'),
    import('../store/store-key.ts'),
  ]);
  const dir = join(data, 'queue', 'store');
  const { entries, bytes, problems, setAside } = await checkStore(dir, {
    repair,
    ...(storeKey && { key: await readStoreKey(storeKey) }),
  });
  if (problems.length > 0) process.exitCode = 1;
  if (json) {
    console.log(JSON.stringify({ entries, bytes, problems, setAside }, undefined, 2));
  } else {
    tellProblems(entries, bytes, problems, repair);
    tellSetAside(setAside);
  }
  if (!discardSetAside || setAside.length === 0) return;
  await setAsideCopies.discardSetAside(dir, setAside);
  if (!json) console.log('removed');
}

function tellProblems(
  entries: number,
  bytes: number,
  problems: Problem[],
  repair: boolean | undefined,
): void {
  console.log(
    `${entries} entries, ${bytes} bytes, ${problems.length === 0 ? 'all whole' : `${problems.length} problem${problems.length === 1 ? '' : 's'}`}`,
  );
  if (problems.length === 0) return;
  console.log(
    table(
      ['NUMBER', 'ID', 'DESTINATION', 'PROBLEM'],
      problems.map(({ id, seq, destination, reason }) => [
        String(seq ?? '-'),
        id ?? '-',
        destination ?? '-',
        reason,
      ]),
    ),
  );
  if (!repair) console.log('nothing was changed: --repair quarantines what is damaged and mends the index');
}

function tellSetAside(copies: SetAside[]): void {
  if (copies.length === 0) return;
  console.log(
    `\nset aside as damaged, and kept until --discard-set-aside; what could be saved from them is in the store:`,
  );
  console.log(
    table(
      ['NAME', 'BYTES', 'SINCE', 'WHY'],
      copies.map(({ name, bytes, at, reason }) => [name, String(bytes), new Date(at).toISOString(), reason]),
    ),
  );
}
