// `layby queue show`, `retry`, `drop`, `move` and `edit`: an operator's hands on single entries, or on all that a filter lets through.

import { Command } from 'commander';
import { LaybyError } from '../telemetry/error.ts';
import { oneLine } from '../telemetry/one-line.ts';
import { adminOption, ask } from './admin-client.ts';
import {
  type ActOptions,
  act,
  type EntryView,
  operatorName,
  secretsOption,
  withFilter,
  withFilterOfOne,
} from './selection.ts';

interface WholeView extends EntryView {
  seq: number;
  class: string;
  orderKey: string;
  ageMs: number;
  headers: [name: string, value: string][];
  trailers: [name: string, value: string][];
  answer?: { status: number; headers: [name: string, value: string][]; body?: string; bodyBase64?: string };
}

export const showCommand = () =>
  new Command('show')
    .description('all that is known of an entry, and what the destination answered')
    .argument('<id>')
    .addOption(secretsOption())
    .option('--json', 'for programs')
    .addOption(adminOption())
    .action(show);

/** Which entries, and how far it may go without asking; `every`: what `--all` means. */
const acting = (command: Command, every: string): Command =>
  withFilter(command)
    .argument('[id...]')
    .option('--all', every)
    .option('--dry-run', 'only say what would be touched')
    .option('--yes', 'do not ask')
    .option('--json', 'for programs')
    .addOption(adminOption());

export const retryCommand = () =>
  acting(new Command('retry'), 'every dead letter')
    .description('dead letters wait again, at their old places')
    .option('--reason <words>', 'why, for the audit trail')
    .action((ids: string[], options: ActOptions) =>
      act('/v1/queue/retry', { present: 'retry', past: 'retried' }, ids, options, 1),
    );

export const dropCommand = () =>
  acting(new Command('drop'), 'every entry')
    .description('entries leave the queue unsent, for good')
    .option('--reason <words>', 'why, for the audit trail')
    .action((ids: string[], options: ActOptions) =>
      act('/v1/queue/drop', { present: 'drop', past: 'dropped' }, ids, options, 0),
    );

export const sendCommand = () =>
  acting(new Command('send'), 'every entry that waits')
    .description('send entries now, whatever the policy says of links and budgets')
    .requiredOption('--now', 'over the link that is there')
    .action((ids: string[], options: ActOptions) =>
      act('/v1/queue/send', { present: 'send now', past: 'told to send now:' }, ids, options, 1),
    );

export const moveCommand = () =>
  withFilterOfOne(new Command('move'))
    .description('entries get another destination, which delivers them in the order of their receipts')
    .argument('[id...]')
    .requiredOption('--to <destination>', 'one of the policy, which serves the hosts of these entries')
    .option(
      '--from <destination>',
      'those of this destination; also of one that the policy does not name any more',
    )
    .option('--all', 'every entry')
    .option('--dry-run', 'only say what would be touched')
    .option('--yes', 'do not ask')
    .option('--reason <words>', 'why, for the audit trail')
    .option('--json', 'for programs')
    .addOption(adminOption())
    .action((ids: string[], { from, to, ...options }: ActOptions & { from?: string; to: string }) => {
      const misfit = (hosts: string): string =>
        `the policy gives ${hosts} to another destination than ${to}, or to none; name them in its spec.hosts, or correct the URL with \`layby queue edit\``;
      const filter = { ...options, ...(from !== undefined && { destination: from }) };
      return act('/v1/queue/move', { present: 'move', past: 'moved', misfit }, ids, filter, 0, { to });
    });

const collect = (value: string, before: string[]): string[] => [...before, value];

interface EditOptions {
  admin: string;
  url?: string;
  header: string[];
  removeHeader: string[];
  reason?: string;
}

export const editCommand = () =>
  new Command('edit')
    .description('another URL or other headers for an entry that waits, or for a dead letter')
    .argument('<id>')
    .option('--url <url>', 'what is to be called, on a host of the same destination')
    .option(
      '--header <header>',
      "'Name: value', in the place of all of that name; may be repeated",
      collect,
      [],
    )
    .option('--remove-header <name>', 'may be repeated', collect, [])
    .option('--reason <words>', 'why, for the audit trail')
    .addOption(adminOption())
    .action(edit);

async function edit(id: string, { admin, url, header, removeHeader, reason }: EditOptions): Promise<void> {
  const headers = header.map((text) => {
    const colon = text.indexOf(':');
    if (colon <= 0)
      throw new LaybyError('LAYBY_EDIT_REFUSED', `${JSON.stringify(text)} is no header`, {
        remedy: "write 'Name: value'",
      });
    return [text.slice(0, colon).trim(), text.slice(colon + 1).trim()];
  });
  const edited = await ask<WholeView>(admin, 'POST', `/v1/queue/entries/${encodeURIComponent(id)}/edit`, {
    by: operatorName(),
    ...(reason !== undefined && { reason }),
    ...(url !== undefined && { url }),
    headers,
    removeHeaders: removeHeader,
  });
  print(edited);
  console.log(
    edited.state === 'dead'
      ? `\nstill a dead letter: \`layby queue retry ${edited.id}\` sends it`
      : '\nit waits, and its next attempt goes like this',
  );
}

async function show(
  id: string,
  { admin, json, secrets }: { admin: string; json?: boolean; secrets?: boolean },
): Promise<void> {
  const path = `/v1/queue/entries/${encodeURIComponent(id)}${secrets ? '?secrets=1' : ''}`;
  const entry = await ask<WholeView>(admin, 'GET', path);
  if (json) console.log(JSON.stringify(entry, undefined, 2));
  else print(entry);
}

const line = (value: string | number): string => oneLine(String(value), Number.POSITIVE_INFINITY);

function print(entry: WholeView): void {
  const lines: [string, string | number | null | undefined][] = [
    ['id', entry.id],
    ['number', entry.seq],
    ['destination', entry.destination],
    ['class', entry.class],
    ['order key', entry.orderKey || 'none'],
    ['state', entry.state],
    ['received', entry.receivedAt],
    ['tries', entry.attempts],
    ['last error', entry.lastError],
    ['reason', entry.reason],
    ['bytes', entry.bytes],
    ['sha256', entry.sha256],
  ];
  for (const [name, value] of lines)
    if (value !== null && value !== undefined) console.log(`${name.padEnd(12)} ${line(value)}`);
  console.log(`\n${line(entry.method)} ${line(entry.url)}`);
  for (const [name, value] of [...entry.headers, ...entry.trailers]) console.log(`${name}: ${line(value)}`);
  const { answer } = entry;
  if (!answer) return;
  console.log(`\nthe destination answered ${answer.status}`);
  for (const [name, value] of answer.headers) console.log(`${name}: ${line(value)}`);
  // As it came, but for what would control the terminal.
  if (answer.body) console.log(`\n${answer.body.replace(/[^\P{Cc}\n\t]/gu, ' ')}`);
  else if (answer.bodyBase64) console.log(`\n(base64) ${answer.bodyBase64}`);
}
