import { join } from 'node:path';
import { Command } from 'commander';

interface Options {
  data: string;
  storeKey: string;
  newKey: string;
}

/** `layby store rekey`, on a queue that is stopped. */
export const rekeyCommand = () =>
  new Command('rekey')
    .description('change the key of an encrypted store; nothing else may run')
    .option('--data <dir>', 'the data directory of layby up', 'layby-data')
    .requiredOption('--store-key <key>', 'the key that it has: FILE or exec:COMMAND')
    .requiredOption('--new-key <key>', 'the key that it shall have')
    .action(rekey);

async function rekey({ data, storeKey, newKey }: Options): Promise<void> {
  // Not before it is needed: `--help` shall not wait for LevelDB to be loaded.
  const { rekeyStore } = await import('../store/leveldb/rekey.ts');
  const { readStoreKey } = await import('../store/store-key.ts');
  const [key, next] = [await readStoreKey(storeKey), await readStoreKey(newKey)];
  const keys = await rekeyStore(join(data, 'queue', 'store'), key, next);
  console.log(`${keys} data keys are wrapped by the new key; start Layby with --store-key ${newKey}`);
}
