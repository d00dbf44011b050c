import { Command } from 'commander';
import { adminOption, ask } from './admin-client.ts';

export const whyCommand = () =>
  new Command('why')
    .description('why an entry is not delivered yet, in words')
    .argument('<id>', 'of the entry, as the receipt has it')
    .option('--json', 'for programs')
    .addOption(adminOption())
    .action(async (id: string, { admin, json }: { admin: string; json?: boolean }) => {
      const said = await ask<{ id: string; why: string[] }>(
        admin,
        'GET',
        `/v1/queue/entries/${encodeURIComponent(id)}/why`,
      );
      console.log(json ? JSON.stringify(said, undefined, 2) : said.why.join('\n'));
    });
