// The command line. One file a command, no logic in any of them.

import { Command } from 'commander';
import { laybyVersion } from '../platform/layby-version.ts';
import { ownerOnlyUmask } from '../platform/owner-only.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import { bootstrapCommand } from './bootstrap.ts';
import { clusterCommand } from './cluster.ts';
import { controlPlaneCommand } from './control-plane.ts';
import { drainCommand } from './drain.ts';
import { identityCommand } from './identity.ts';
import { injectCommand } from './inject.ts';
import { linkCommand } from './link.ts';
import { policyCommand } from './policy.ts';
import { queueCommand } from './queue.ts';
import { statusCommand } from './status.ts';
import { storeCommand } from './store.ts';
import { upCommand } from './up.ts';
import { whyCommand } from './why.ts';

const program = new Command('layby')
  .description('A service mesh for machines that lose signal')
  .version(laybyVersion)
  .enablePositionalOptions()
  .hook('preAction', (_program, command) => {
    // The bootstrap of an Envoy has no secrets, and that Envoy may run as another user.
    if (command.name() !== 'bootstrap') ownerOnlyUmask();
  })
  .addCommand(upCommand())
  .addCommand(policyCommand())
  .addCommand(linkCommand())
  .addCommand(drainCommand())
  .addCommand(queueCommand())
  .addCommand(whyCommand())
  .addCommand(statusCommand())
  .addCommand(storeCommand())
  .addCommand(controlPlaneCommand())
  .addCommand(identityCommand())
  .addCommand(bootstrapCommand())
  .addCommand(injectCommand())
  .addCommand(clusterCommand());

/** What commander says of a wrong command line, as one line with a remedy, like every other error. */
function oneLine(command: Command, path: string): void {
  command.configureOutput({
    outputError: (text, write) => {
      const said = text
        .trim()
        .replace(/^error: /, '')
        .replace(/\n/g, ' ');
      write(`layby: ${said}: see ${path} --help\n`);
    },
  });
  for (const sub of command.commands) oneLine(sub, `${path} ${sub.name()}`);
}
oneLine(program, 'layby');

try {
  await program.parseAsync();
} catch (error) {
  console.error(`layby: ${error instanceof LaybyError ? error.line : messageOf(error)}`);
  if (!(error instanceof LaybyError) && process.env.LAYBY_LOG === 'debug') console.error(error);
  process.exit(1);
}
