import { Argument, Command } from 'commander';
import { adminOption, ask } from './admin-client.ts';

interface StatusView {
  destinations: { name: string; state: string; why: string }[];
}

export const linkCommand = () =>
  new Command('link')
    .description("the operator's word on the link, in force at once")
    .addArgument(new Argument('<state>', 'auto leaves it to the kernel').choices(['down', 'up', 'auto']))
    .argument('[destination...]', 'default: all')
    .addOption(adminOption())
    .action(async (state: string, destinations: string[], { admin }: { admin: string }) => {
      const status = await ask<StatusView>(admin, 'POST', '/v1/link', { state, destinations });
      for (const { name, state: hold, why } of status.destinations) console.log(`${name}  ${hold}  ${why}`);
    });
