// Which entries an operator means: some by their ids, or all that a filter lets through. Reads the store, changes nothing.

import { CLASSES } from '../../policy/policy.ts';
import type { Entry, EntryState, Store } from '../../store/store.ts';
import { LaybyError } from '../../telemetry/error.ts';
import { FLAG, fieldsOf, listOf, NUMBER, TEXT } from '../../wire/fields.ts';

/** As it comes over the admin listener. Either ids, or a filter: each field that is there must hold. */
export interface Selection {
  ids?: string[];
  destination?: string;
  state?: EntryState;
  class?: string;
  /** What the app called; `*` stands for any characters, `/` too. */
  url?: string;
  /** Stored for longer than this, ms of powered-on time. */
  olderThan?: number;
  /** Every entry: without it an empty filter is a mistake. */
  all?: boolean;
  /** None with a larger seq: what came after an operator was shown the selection is not in it. */
  through?: number;
}

/** The state is judged below, which says the states there are. */
type SelectionFields = Omit<Required<Selection>, 'state'> & { state: string };

const FIELDS = {
  ...{ ids: listOf(TEXT), destination: TEXT, state: TEXT, class: TEXT, url: TEXT },
  ...{ olderThan: NUMBER, all: FLAG, through: NUMBER },
};

const STATES: readonly EntryState[] = ['stored', 'sending', 'staged', 'dead', 'quarantined'];

const invalid = (message: string, remedy?: string): LaybyError =>
  new LaybyError('LAYBY_REQUEST_INVALID', message, remedy === undefined ? {} : { remedy });

/** Throws LAYBY_REQUEST_INVALID where it is none, or would mean everything without saying so. */
export function checkSelection(given: unknown): Selection {
  const selection = fieldsOf<SelectionFields>(given ?? {}, FIELDS, 'the selection') as Selection;
  const { ids, destination, state, class: className, url, olderThan, all } = selection;
  const filters = [destination, state, className, url, olderThan].filter((value) => value !== undefined);
  if (ids !== undefined) {
    if (ids.length === 0) throw invalid('the list of ids is empty', 'name one id at least');
    if (filters.length > 0 || all) throw invalid('ids and a filter exclude each other');
  } else if (filters.length === 0 && !all) {
    throw invalid('nothing is selected', 'name ids, a filter like --destination NAME, or --all');
  }
  if (state !== undefined && !STATES.includes(state))
    throw invalid(`there is no state ${state}`, `one of ${STATES.join(', ')}`);
  if (className !== undefined && !CLASSES.some((known) => known === className))
    throw invalid(`there is no class ${className}`, `one of ${CLASSES.join(', ')}`);
  if (olderThan !== undefined && olderThan < 0) throw invalid('olderThan is less than 0', 'write it in ms');
  return selection;
}

/** The filter of a query string: the names of the fields, all text. */
export function selectionOf(query: URLSearchParams): Selection {
  const text = Object.fromEntries(query);
  const { olderThan, all, ids: _, through: __, ...rest } = text;
  return checkSelection({
    ...rest,
    ...(olderThan !== undefined && { olderThan: Number(olderThan) }),
    ...(all !== undefined && { all: true }),
  });
}

/** Whether `text` is what `glob` says. Linear in both: the operator's text never becomes a regular expression. */
export function globMatches(glob: string, text: string): boolean {
  const parts = glob.split('*');
  const first = parts.shift()!;
  const last = parts.pop();
  if (last === undefined) return text === first;
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last))
    return false;
  const end = text.length - last.length;
  let at = first.length;
  for (const part of parts) {
    const found = text.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

/** In seq order, or in the order of the ids. Throws LAYBY_ENTRY_UNKNOWN at the first id that is not there. */
export async function* selected(store: Store, selection: Selection): AsyncGenerator<Entry> {
  if (selection.ids) {
    for (const id of new Set(selection.ids)) yield await known(store, id);
    return;
  }
  const { destination, state, class: className, url, olderThan, through } = selection;
  const wanted = className === undefined ? undefined : (CLASSES as readonly string[]).indexOf(className);
  const options = {
    ...(destination !== undefined && { destination }),
    ...(state !== undefined && { state }),
  };
  for await (const entry of store.list(options)) {
    if (through !== undefined && entry.seq > through) return;
    if (wanted !== undefined && entry.class !== wanted) continue;
    if (url !== undefined && !globMatches(url, entry.url)) continue;
    if (olderThan !== undefined && store.age(entry) < olderThan) continue;
    yield entry;
  }
}

/** Throws LAYBY_ENTRY_UNKNOWN. */
export async function known(store: Store, id: string): Promise<Entry> {
  const entry = await store.get(id.toLowerCase());
  if (entry) return entry;
  throw new LaybyError('LAYBY_ENTRY_UNKNOWN', `there is no entry ${id}`, {
    remedy: 'see what became of it with `layby queue audit ID`',
  });
}
