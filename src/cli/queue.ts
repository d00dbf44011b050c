import { Command } from 'commander';
import { logger } from '../telemetry/log.ts';
import { parseAddress } from '../wire/address.ts';
import { adminOption, ask } from './admin-client.ts';
import { table } from './table.ts';
import { end, untilSignal } from './until-signal.ts';

interface EntryView {
  id: string;
  destination: string;
  method: string;
  url: string;
  bytes: number;
  state: string;
  receivedAt: string;
  attempts: number;
  lastError: string | null;
}

interface RunOptions {
  data: string;
  listen: string;
  admin: string;
  egress: string;
  control: string;
}

/** `layby queue` runs the queue and replay; `layby queue ls` asks a running one. */
export const queueCommand = () =>
  new Command('queue')
    .enablePositionalOptions()
    .description('run the queue with replay, or (ls) see what is in it')
    .option('--data <dir>', 'where everything is kept')
    .option('--listen <address>', 'where sidecars send, HOST:PORT or unix:PATH')
    .option('--admin <address>', 'its own admin listener, for the control plane')
    .option('--egress <address>', 'the egress listener of the sidecar')
    .option('--control <address>', 'the control plane')
    .action(run)
    .addCommand(
      new Command('ls')
        .description('the entries that are stored')
        .option('--json', 'for programs')
        .addOption(adminOption())
        .action(list),
    );

async function run(options: Partial<RunOptions>, command: Command): Promise<void> {
  const { data, listen, admin, egress, control } = options;
  if (!data || !listen || !admin || !egress || !control) return command.help({ error: true });
  const signal = untilSignal();
  // Not before it is needed: `queue ls` shall not wait for LevelDB and gRPC to be loaded.
  const { startQueue } = await import('../queue/queue.ts');
  const queue = await startQueue({
    dir: data,
    listen: parseAddress(listen, '--listen'),
    admin: parseAddress(admin, '--admin'),
    egress: parseAddress(egress, '--egress'),
    control: parseAddress(control, '--control'),
    log: logger('queue'),
  });
  await signal;
  await end(() => queue.close());
}

async function list({ admin, json }: { admin: string; json?: boolean }): Promise<void> {
  const entries = await ask<EntryView[]>(admin, 'GET', '/v1/queue');
  if (json) {
    console.log(JSON.stringify(entries, undefined, 2));
    return;
  }
  console.log(
    table(
      ['ID', 'DESTINATION', 'STATE', 'BYTES', 'RECEIVED', 'TRIES', 'REQUEST', 'LAST ERROR'],
      entries.map((entry) => [
        entry.id,
        entry.destination,
        entry.state,
        String(entry.bytes),
        entry.receivedAt,
        String(entry.attempts),
        `${entry.method} ${entry.url}`,
        entry.lastError ?? '',
      ]),
    ),
  );
}
