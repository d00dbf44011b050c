// Which entries a command means, as a person writes it: ids, or options that filter. What it means is for the queue.

import { userInfo } from 'node:os';
import { createInterface } from 'node:readline/promises';
import { type Command, Option } from 'commander';
import { parseDuration } from '../policy/units.ts';
import { LaybyError } from '../telemetry/error.ts';
import { ask } from './admin-client.ts';

export interface EntryView {
  id: string;
  destination: string;
  method: string;
  url: string;
  bytes: number;
  sha256: string;
  state: string;
  receivedAt: string;
  attempts: number;
  lastError: string | null;
  reason?: string;
}

export interface FilterOptions {
  destination?: string;
  state?: string;
  class?: string;
  url?: string;
  olderThan?: string;
  all?: boolean;
}

export interface ActOptions extends FilterOptions {
  admin: string;
  dryRun?: boolean;
  yes?: boolean;
  reason?: string;
  json?: boolean;
}

interface Tally {
  entries: number;
  bytes: number;
  passed: number;
  misfits: { entries: number; of: string[] };
  through: number;
  first: EntryView[];
}

export const withFilter = (command: Command): Command =>
  withFilterOfOne(command.option('--destination <name>', 'only of this destination'));

/** Where another option names the destination. */
export const withFilterOfOne = (command: Command): Command =>
  command
    .option('--state <state>', 'only stored, sending, staged, dead or quarantined ones')
    .option('--class <class>', 'only of this class')
    .option('--url <glob>', 'only where the URL that was called matches; * is any characters')
    .option('--older-than <duration>', 'only what has been stored for longer, like 12h or 7d');

/** As the admin listener takes it. Errors: LAYBY_UNIT_INVALID. */
const filterOf = ({ destination, state, class: className, url, olderThan, all }: FilterOptions) => ({
  ...(destination !== undefined && { destination }),
  ...(state !== undefined && { state }),
  ...(className !== undefined && { class: className }),
  ...(url !== undefined && { url }),
  ...(olderThan !== undefined && { olderThan: parseDuration(olderThan) }),
  ...(all && { all: true }),
});

export const secretsOption = (): Option =>
  new Option(
    '--secrets',
    'also what bears credentials: of URLs, and of headers like Authorization and Cookie',
  );

/** `?state=dead`, or nothing where nothing is filtered. */
export function queryOf(options: FilterOptions, secrets = false): string {
  const wanted = { ...filterOf(options), ...(secrets && { secrets: 1 }) };
  const pairs = Object.entries(wanted).map(([name, value]) => [name, String(value)]);
  return pairs.length === 0 ? '' : `?${new URLSearchParams(Object.fromEntries(pairs))}`;
}

/** Errors: LAYBY_REQUEST_INVALID where ids and filter come together. */
export function selectionOf(ids: string[], options: FilterOptions): object {
  const filter = filterOf(options);
  if (ids.length === 0) return filter;
  if (Object.keys(filter).length > 0)
    throw new LaybyError('LAYBY_REQUEST_INVALID', 'ids and a filter exclude each other', {
      remedy: 'name the ids, or filter with --destination, --state, --class, --url, --older-than or --all',
    });
  return { ids };
}

/** Who runs this command, for the audit trail; a word, not a proof. */
export function operatorName(): string {
  try {
    return process.env.SUDO_USER || userInfo().username;
  } catch {
    return 'an operator';
  }
}

const plural = (count: number): string => `${count} ${count === 1 ? 'entry' : 'entries'}`;

export interface Verb {
  present: string;
  past: string;
  /** Why entries are left out whose misfits (hosts, …) are these; in words. */
  misfit?: (of: string) => string;
}

/** Tells what `path` would touch, asks where that is more than `unasked` entries, and does it to exactly those. `more`: further fields of
 *  the request. Errors: LAYBY_NOT_CONFIRMED, and what the listener says. */
export async function act(
  path: string,
  verb: Verb,
  ids: string[],
  options: ActOptions,
  unasked: number,
  more: object = {},
): Promise<void> {
  const { admin, dryRun, yes, reason, json } = options;
  const select = selectionOf(ids, options);
  const hand = { ...more, by: operatorName(), ...(reason !== undefined && { reason }) };
  const would = await ask<Tally>(admin, 'POST', path, { select, ...hand, dryRun: true });
  if (!json) console.log(`would ${verb.present} ${inWords(would, verb)}`);
  if (dryRun || would.entries === 0) {
    if (json) console.log(JSON.stringify({ ...would, dryRun: true }, undefined, 2));
    return;
  }
  if (!yes && would.entries > unasked) await confirm(verb.present, would.entries);
  // What has come since is not meant by what was agreed to.
  const bound = ids.length > 0 ? select : { ...select, through: would.through };
  const did = await ask<Tally>(admin, 'POST', path, { select: bound, ...hand });
  console.log(
    json ? JSON.stringify(did, undefined, 2) : `${verb.past} ${plural(did.entries)}${leftOut(did, verb)}`,
  );
}

/** `; 2 entries not, by state`, or nothing. */
function leftOut({ passed, misfits }: Tally, { misfit }: Verb): string {
  const parts = [
    passed > 0 ? `${plural(passed)} not, by state` : '',
    misfits.entries > 0 && misfit ? `${plural(misfits.entries)} not: ${misfit(misfits.of.join(', '))}` : '',
  ];
  return parts
    .filter(Boolean)
    .map((part) => `; ${part}`)
    .join('');
}

function inWords(tally: Tally, verb: Verb): string {
  const { entries, bytes, first } = tally;
  const lines = first.map(({ id, destination, state, bytes: size, method, url }) =>
    [' ', id, destination, state, `${size} bytes`, method, url].join(' '),
  );
  if (entries > first.length) lines.push(`  and ${entries - first.length} more`);
  return [`${plural(entries)}, ${bytes} bytes${leftOut(tally, verb)}`, ...lines].join('\n');
}

async function confirm(verb: string, entries: number): Promise<void> {
  const refusal = new LaybyError('LAYBY_NOT_CONFIRMED', `nothing was done to ${plural(entries)}`, {
    remedy: `say --yes to ${verb} ${entries === 1 ? 'it' : 'them'}`,
  });
  if (!process.stdin.isTTY || !process.stdout.isTTY) throw refusal;
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    const answer = await terminal.question(`${verb} ${entries === 1 ? 'it' : 'them'}? [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw refusal;
  } finally {
    terminal.close();
  }
}
