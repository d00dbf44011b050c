// What an operator's hand does to entries: retry and drop, of one or of many, first only told and then done. By whom and why
// goes into the audit trail with each of them. Editing: edit.ts. Moving: move.ts.

import type { Replay } from '../../replay/replay.ts';
import type { Entry, Store } from '../../store/store.ts';
import type { Backlog } from '../backlog.ts';
import { type Selection, selected } from './select.ts';

/** Who asks, and why, in the operator's words. */
export interface Hand {
  by?: string;
  reason?: string;
}

export interface Tally {
  entries: number;
  /** Of their bodies. */
  bytes: number;
  /** Selected, and not touched: the act does not fit their state. */
  passed: number;
  /** Selected, and not touched: what the act does not fit of them, the first few, and how many entries. */
  misfits: { entries: number; of: string[] };
  /** The largest seq that was looked at: what came later is not meant. */
  through: number;
  /** The first few. */
  first: Entry[];
}

export interface Act {
  fits: (entry: Entry) => boolean;
  /** What else of the entry the act does not fit; undefined: it fits. */
  misfit?: (entry: Entry) => string | undefined;
  /** false: it had left, or changed its state, in the moment before. */
  run: (entry: Entry, detail: string) => Promise<boolean>;
}

const SHOWN = 10;
/** Changed at once, so that they share a flush. */
const TOGETHER = 64;
/** Of what a person wrote, characters. */
const WORDS = 200;

/** On one line: it goes into logs and terminals. */
const plain = (text: string): string => text.replace(/\p{Cc}+/gu, ' ').slice(0, WORDS);

/** For the audit trail: `by alice: wrong bucket`. */
export const inWords = ({ by, reason }: Hand, what?: string): string =>
  [`by ${plain(by || 'an operator')}`, reason && plain(reason), what].filter(Boolean).join(': ');

/** Held before it waits again, so that no direct call overtakes it. */
export const retry = (store: Store, backlog: Backlog): Act => ({
  fits: ({ state }) => state === 'dead',
  run: ({ id, destination }, detail) => backlog.holding(destination, () => store.retry(id, detail)),
});

export const drop = (store: Store): Act => ({
  fits: () => true,
  run: ({ id }, detail) => store.drop(id, 'dropped', detail),
});

/** Over whatever link there is; one that is being sent goes on, and is tried again at once if that fails. */
export const send = (replay: Replay): Act => ({
  fits: ({ state }) => state === 'stored' || state === 'sending',
  run: (entry) => replay.hurry(entry),
});

/** Runs over the selection; `dryRun` counts what would be touched. Where the store fails in between, what was done stays done. */
export async function actOn(
  store: Store,
  selection: Selection,
  act: Act,
  hand: Hand,
  dryRun: boolean,
): Promise<Tally> {
  const misfits: Tally['misfits'] = { entries: 0, of: [] };
  const tally: Tally = { entries: 0, bytes: 0, passed: 0, misfits, through: 0, first: [] };
  const detail = inWords(hand);
  let together: Promise<void>[] = [];
  const touch = async (entry: Entry): Promise<void> => {
    if (!dryRun && !(await act.run(entry, detail))) {
      tally.passed += 1;
      return;
    }
    tally.entries += 1;
    tally.bytes += entry.bytes;
    if (tally.first.length < SHOWN) tally.first.push(entry);
  };
  const settle = async (): Promise<void> => {
    const results = await Promise.allSettled(together);
    together = [];
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  };
  // All ids are looked up before the first is touched.
  if (selection.ids) for await (const _ of selected(store, selection));
  for await (const entry of selected(store, selection)) {
    tally.through = Math.max(tally.through, entry.seq);
    if (!act.fits(entry)) {
      tally.passed += 1;
      continue;
    }
    const misfit = act.misfit?.(entry);
    if (misfit !== undefined) {
      misfits.entries += 1;
      if (misfits.of.length < SHOWN && !misfits.of.includes(misfit)) misfits.of.push(misfit);
      continue;
    }
    together.push(touch(entry));
    if (together.length === TOGETHER) await settle();
  }
  await settle();
  return tally;
}
