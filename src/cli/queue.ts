import { Command } from 'commander';
import { parseRate, parseSize } from '../policy/units.ts';
import { LaybyError } from '../telemetry/error.ts';
import { logger } from '../telemetry/log.ts';
import { parseAddress } from '../wire/address.ts';
import { adminOption, ask } from './admin-client.ts';
import { exportCommand } from './queue-export.ts';
import {
  dropCommand,
  editCommand,
  moveCommand,
  retryCommand,
  sendCommand,
  showCommand,
} from './queue-hands.ts';
import { type EntryView, type FilterOptions, queryOf, secretsOption, withFilter } from './selection.ts';
import { table } from './table.ts';
import { end, untilSignal } from './until-signal.ts';

interface RunOptions {
  data: string;
  shared?: string;
  listen: string;
  admin: string;
  health?: string;
  egress: string;
  control: string;
  storeQuota?: string;
  storeReserve?: string;
  replayRate?: string;
  storeKey?: string;
}

interface EventView {
  at: string;
  kind: string;
  id: string;
  destination: string;
  bytes: number;
  detail?: string;
  method?: string;
  url?: string;
}

/** `layby queue` runs the queue and replay; `layby queue ls` asks a running one. */
export const queueCommand = () =>
  new Command('queue')
    .enablePositionalOptions()
    .description('run the queue with replay, or (ls) see what is in it')
    .option('--data <dir>', 'where everything is kept')
    .option(
      '--shared <dir>',
      'what queue and control plane leave for each other (default: shared, beside --data)',
    )
    .option('--listen <address>', 'where sidecars send, HOST:PORT or unix:PATH')
    .option('--admin <address>', 'its own admin listener, for the control plane')
    .option('--health <host:port>', 'where GET /healthz and /readyz say whether it works (default: nowhere)')
    .option('--egress <address>', 'the egress listener of the sidecar')
    .option('--control <address>', 'the control plane')
    .option(
      '--store-quota <size>',
      'the most that the store takes on the disk, like 20GiB (default: no quota)',
    )
    .option('--store-key <key>', 'encrypts the store: FILE or exec:COMMAND with 32 bytes, raw, hex or base64')
    .option('--store-reserve <size>', 'what the store leaves free on the disk (default: 256 MiB or 5 %)')
    .option('--replay-rate <rate>', 'the most that replay sends to all destinations together, like 8Mbit/s')
    .action(run)
    .addCommand(
      withFilter(new Command('ls'))
        .description('the entries that are stored, or those that the options select')
        .addOption(secretsOption())
        .option('--json', 'for programs')
        .addOption(adminOption())
        .action(list),
    )
    .addCommand(
      new Command('audit')
        .description('what became of an entry')
        .argument('<id or url>', 'the id of an entry, or a part of the URL that was called')
        .addOption(secretsOption())
        .option('--json', 'for programs')
        .addOption(adminOption())
        .action(audit),
    )
    .addCommand(showCommand())
    .addCommand(retryCommand())
    .addCommand(sendCommand())
    .addCommand(dropCommand())
    .addCommand(moveCommand())
    .addCommand(editCommand())
    .addCommand(exportCommand());

async function run(options: Partial<RunOptions>, command: Command): Promise<void> {
  const { data, listen, admin, egress, control } = options;
  if (!data || !listen || !admin || !egress || !control) return command.help({ error: true });
  const log = logger('queue');
  const signal = untilSignal(log);
  // Not before it is needed: `queue ls` shall not wait for LevelDB and gRPC to be loaded.
  const { startQueue } = await import('../queue/queue.ts');
  const queue = await startQueue({
    dir: data,
    ...(options.shared && { shared: options.shared }),
    listen: parseAddress(listen, '--listen'),
    admin: parseAddress(admin, '--admin'),
    ...(options.health && { health: parseAddress(options.health, '--health') }),
    egress: parseAddress(egress, '--egress'),
    control: parseAddress(control, '--control'),
    ...(options.storeQuota && { quota: parseSize(options.storeQuota) }),
    ...(options.storeReserve && { reserve: parseSize(options.storeReserve) }),
    ...(options.replayRate && { replayRate: parseRate(options.replayRate) }),
    ...(options.storeKey && { storeKey: options.storeKey }),
    log,
  });
  await signal;
  await end(log, () => queue.close());
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

async function audit(
  of: string,
  { admin, json, secrets }: { admin: string; json?: boolean; secrets?: boolean },
): Promise<void> {
  const query = new URLSearchParams(UUID.test(of) ? { id: of.toLowerCase() } : { url: of });
  if (secrets) query.set('secrets', '1');
  const events = await ask<EventView[]>(admin, 'GET', `/v1/queue/audit?${query}`);
  if (json) {
    console.log(JSON.stringify(events, undefined, 2));
    return;
  }
  if (events.length === 0)
    throw new LaybyError('LAYBY_ENTRY_UNKNOWN', `The audit trail has nothing of ${of}`, {
      remedy: 'It was never stored, or so long ago that its lines fell out of the trail',
    });
  console.log(
    table(
      ['AT', 'EVENT', 'ID', 'DESTINATION', 'BYTES', 'WHAT'],
      events.map(({ at, kind, id, destination, bytes, method, url, detail }) => [
        at,
        kind,
        id,
        destination,
        String(bytes),
        detail ?? (url ? `${method} ${url}` : ''),
      ]),
    ),
  );
}

async function list({
  admin,
  json,
  secrets,
  ...filter
}: { admin: string; json?: boolean; secrets?: boolean } & FilterOptions): Promise<void> {
  const entries = await ask<EntryView[]>(admin, 'GET', `/v1/queue${queryOf(filter, secrets)}`);
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
