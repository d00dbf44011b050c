import { Argument, Command } from 'commander';
import type { Overrides } from '../wire/link-memory.ts';
import { adminOption, ask } from './admin-client.ts';
import { overrideLines } from './link-overrides.ts';
import { table } from './table.ts';

interface StatusView {
  overrides: Overrides;
  destinations: { name: string; state: string; why: string }[];
}

export const linkCommand = () =>
  new Command('link')
    .enablePositionalOptions()
    .description("the operator's word on the link, in force at once")
    .addArgument(new Argument('<state>', 'auto leaves it to the kernel').choices(['down', 'up', 'auto']))
    .argument('[destination...]', 'default: all, also those that are added later')
    .addOption(adminOption())
    .addCommand(budgetCommand())
    .action(async (state: string, destinations: string[], { admin }: { admin: string }) => {
      const status = await ask<StatusView>(admin, 'POST', '/v1/link', { state, destinations });
      for (const { name, state: hold, why } of status.destinations) console.log(`${name}  ${hold}  ${why}`);
      const names = status.destinations.map(({ name }) => name);
      for (const line of overrideLines(status.overrides, names)) console.log(line);
    });

interface Usage {
  day: number;
  month: number;
}

const budgetCommand = () =>
  new Command('budget')
    .description('the bytes that replay has sent over each kind of link')
    .option('--json', 'for programs')
    .addOption(adminOption())
    .action(async ({ admin, json }: { admin: string; json?: boolean }) => {
      const used = await ask<Record<string, Usage>>(admin, 'GET', '/v1/queue/budget');
      if (json) {
        console.log(JSON.stringify(used, undefined, 2));
        return;
      }
      const rows = Object.entries(used).map(([kind, { day, month }]) => [kind, String(day), String(month)]);
      console.log(table(['LINK', 'TODAY (UTC)', 'THIS MONTH'], rows));
    });
