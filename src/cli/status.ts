import { Command } from 'commander';
import { adminOption, ask } from './admin-client.ts';
import { table } from './table.ts';

interface StatusView {
  link: string;
  policy: { problem: string | null };
  queue: { answers: boolean };
  setAside: { copies: number; bytes: number } | null;
  destinations: {
    name: string;
    state: string;
    entries: number;
    bytes: number;
    dead: number;
    oldest: string | null;
    why: string;
  }[];
  sidecars: { id: string; upToDate: boolean }[];
}

export const statusCommand = () =>
  new Command('status')
    .description('what is stored, what is held and why, and what the sidecars have')
    .option('--json', 'for programs')
    .addOption(adminOption())
    .action(async ({ admin, json }: { admin: string; json?: boolean }) => {
      const status = await ask<StatusView>(admin, 'GET', '/v1/status');
      if (json) {
        console.log(JSON.stringify(status, undefined, 2));
        return;
      }
      console.log(`link ${status.link}${status.queue.answers ? '' : ', the queue does not answer'}`);
      if (status.policy.problem)
        console.log(`policy refused; the one before is in force:\n${status.policy.problem}`);
      console.log(
        table(
          ['DESTINATION', 'STATE', 'ENTRIES', 'BYTES', 'DEAD', 'OLDEST', 'WHY'],
          status.destinations.map(({ name, state, entries, bytes, dead, oldest, why }) => [
            name,
            state,
            String(entries),
            String(bytes),
            String(dead),
            oldest ?? '-',
            why,
          ]),
        ),
      );
      const { copies, bytes } = status.setAside ?? { copies: 0, bytes: 0 };
      if (copies > 0)
        console.log(`set aside as damaged: ${copies}, ${bytes} bytes; \`layby store check\` says why`);
      for (const { id, upToDate } of status.sidecars) {
        console.log(`sidecar ${id}: ${upToDate ? 'up to date' : 'behind'}`);
      }
    });
