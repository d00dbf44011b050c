// What an operator may change of a dead letter, or of an entry that waits: its URL, to a host of the same destination (law 4), and its
// headers, those that belong to the request from end to end. The body never.

import { validateHeaderName, validateHeaderValue } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { forEntry } from '../../policy/in-force.ts';
import type { Policy } from '../../policy/policy.ts';
import { authorityOf, hostIn, servesHost } from '../../policy/serves.ts';
import type { Entry, EntryEdit, EntryState, Store } from '../../store/store.ts';
import { LaybyError, messageOf } from '../../telemetry/error.ts';
import { HIDDEN, isSecret } from '../../telemetry/secrets.ts';
import { endToEndHeaders } from '../headers.ts';
import { type Hand, inWords } from './act.ts';
import { placementIn } from './placement.ts';
import { known } from './select.ts';

/** As it comes over the admin listener. */
export interface EditRequest extends Hand {
  url?: string;
  /** Each replaces all of its name. */
  headers?: [name: string, value: string][];
  removeHeaders?: string[];
}

/** An attempt that is under way gets this long to end, and is looked at this often, ms: one that finds no link is over in a moment. */
const ATTEMPT_PATIENCE_MS = 2_000;
const ATTEMPT_LOOK_MS = 20;
/** Of names and values together, bytes: Envoy takes 60 KiB, and adds its own. */
const HEADERS_BYTES = 48 * 1024;

const refused = (message: string, remedy: string): LaybyError =>
  new LaybyError('LAYBY_EDIT_REFUSED', message, { remedy });

/** Pure: what the store is to be told, and in words what changes; no value of a header and no query gets into the words.
 *  Throws LAYBY_EDIT_REFUSED. */
export function planEdit(
  entry: Entry,
  request: EditRequest,
  policy: Policy,
): { edit: EntryEdit; words: string } {
  const named = policy.destinations.find(({ name }) => name === entry.destination);
  if (!named)
    throw refused(
      `the policy names no destination ${entry.destination}`,
      `bring it back, or give the entry another one with \`layby queue move ${entry.id} --to NAME\``,
    );
  const destination = forEntry(named, { ...entry, url: request.url ?? entry.url });
  const words: string[] = [];
  const edit: EntryEdit = {};
  const { headers = [], removeHeaders = [] } = request;
  if (request.url?.includes(HIDDEN) || headers.some(([, value]) => value === HIDDEN))
    throw refused(
      `${HIDDEN} stands for a value that was not shown`,
      `see it with \`layby queue show ${entry.id} --secrets\``,
    );
  if (request.url !== undefined) {
    const url = canonicalUrl(request.url);
    if (!servesHost(policy, named, hostIn(authorityOf(url))))
      throw refused(
        `${authorityOf(url)} is no host of ${destination.name}`,
        `its hosts are ${destination.hosts.join(', ')}`,
      );
    const placement = placementIn(named, entry, url);
    Object.assign(edit, placement);
    if (placement.url !== entry.url) edit.restart = true;
    words.push(`url ${withoutQuery(entry.url)} → ${withoutQuery(placement.url)}`);
  }
  if (headers.length > 0 || removeHeaders.length > 0) {
    for (const [name, value] of headers) checkHeader(name, value);
    const gone = new Set(
      [...removeHeaders, ...headers.map(([name]) => name)].map((name) => name.toLowerCase()),
    );
    const kept = pairs(entry.headers).filter(([name]) => !gone.has(name.toLowerCase()));
    const next = [...kept, ...headers].flat();
    const allowed = new Set(pairs(endToEndHeaders(next, destination)).map(([name]) => name.toLowerCase()));
    for (const [name] of headers)
      if (!allowed.has(name.toLowerCase()))
        throw refused(`the header ${name} is not the request's to set`, 'it is made anew on each way out');
    if (next.join('').length > HEADERS_BYTES) throw refused('the headers are too large', 'leave some out');
    edit.headers = next;
    // What is begun at the destination was begun with the other headers; credentials are of each request.
    const changed = [...headers.map(([name]) => name), ...removeHeaders];
    if (!changed.every(isSecret)) edit.restart = true;
    if (headers.length > 0) words.push(`set ${headers.map(([name]) => name).join(', ')}`);
    if (removeHeaders.length > 0) words.push(`removed ${removeHeaders.join(', ')}`);
  }
  if (words.length === 0)
    throw refused('nothing is to be changed', 'give --url, --header or --remove-header');
  return { edit, words: words.join('; ') };
}

/** Errors: LAYBY_ENTRY_UNKNOWN, LAYBY_ENTRY_NOT_EDITABLE, LAYBY_EDIT_REFUSED, LAYBY_STORE_FULL, LAYBY_STORE_FAILED. */
export async function editEntry(
  store: Store,
  policy: Policy | undefined,
  id: string,
  request: EditRequest,
): Promise<Entry> {
  if (!policy) throw refused('there is no policy', 'name one before you edit');
  for (const deadline = performance.now() + ATTEMPT_PATIENCE_MS; ; await sleep(ATTEMPT_LOOK_MS)) {
    const entry = await known(store, id);
    if (EDITABLE.has(entry.state)) {
      const { edit, words } = planEdit(entry, request, policy);
      if (await store.edit(entry.id, edit, inWords(request, words))) return known(store, id);
    } else if (entry.state !== 'sending') throw notEditable(entry);
    if (performance.now() > deadline) throw notEditable(entry);
  }
}

const EDITABLE: ReadonlySet<EntryState> = new Set(['dead', 'stored']);

const REMEDIES: Partial<Record<EntryState, string>> = {
  staged: 'it belongs to an upload that its app has not completed: edit the whole when it has',
  quarantined: 'its record or body is damaged: it is never sent, and can only be dropped',
};

const notEditable = ({ id, state, destination }: Entry): LaybyError =>
  new LaybyError('LAYBY_ENTRY_NOT_EDITABLE', `entry ${id} is ${state}, and cannot be edited now`, {
    remedy:
      REMEDIES[state] ??
      `try again after the attempt; \`layby link down ${destination}\` keeps the next one from starting`,
  });

/** As the queue would have stored it. */
function canonicalUrl(text: string): string {
  const match = /^http:\/\/([^/?#\s@]+)(\/[^#]*)?$/.exec(text);
  // Visible ASCII, as in a request line (RFC 9112 section 3.2).
  if (!match || !/^[!-~]+$/.test(text))
    throw refused(
      `${JSON.stringify(text)} is no URL that an app could have called`,
      'write http://HOST/PATH',
    );
  return match[2] === undefined ? `${text}/` : text;
}

const withoutQuery = (url: string): string => url.split('?', 1)[0]! + (url.includes('?') ? '?…' : '');

function checkHeader(name: string, value: string): void {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
  } catch (error) {
    throw refused(messageOf(error), "write 'Name: value'");
  }
}

const pairs = (headers: readonly string[]): [string, string][] =>
  Array.from({ length: headers.length / 2 }, (_, i) => [headers[2 * i]!, headers[2 * i + 1]!]);
