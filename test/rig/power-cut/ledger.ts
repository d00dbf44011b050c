// What was promised up to a moment, from what the fixture said; and whether a store keeps it. A receipt counts from the moment
// at which the line that says it is on its way.

import { all, bodyOf, put, sha256 } from '../../../src/store/conformance.ts';
import { openStore } from '../../../src/store/leveldb/open.ts';
import type { Entry } from '../../../src/store/store.ts';
import type { Said } from './recording.ts';

/** `composing`: it is on its way into another, and either it is there or that one. */
type State = 'storing' | 'stored' | 'composing' | 'leaving' | 'left' | 'dying' | 'dead';

interface Promised {
  sha256: string;
  seq: number | undefined;
  state: State;
  /** Of what is composed. */
  into?: string | undefined;
}

/** By id. */
export type Ledger = Map<string, Promised>;

/** `before` is what the store was known to hold when the recording began. */
export const ledgerAt = (said: Said[], line: number, before: Ledger = new Map()): Ledger => {
  const ledger: Ledger = new Map([...before].map(([id, promised]) => [id, { ...promised }]));
  for (const { entered, line: text } of said) {
    if (entered > line) break;
    const [state, id, more] = text.split(' ') as [State, string, string | undefined];
    if (state === 'storing') ledger.set(id, { sha256: more!, seq: undefined, state });
    else {
      const promised = ledger.get(id)!;
      promised.state = state;
      if (state === 'stored') promised.seq = Number(more);
      if (state === 'composing') promised.into = more;
    }
  }
  return ledger;
};

/** What a recording composed before its power cut may leave in the next one. */
const isLeaving = (promised: Promised | undefined): boolean =>
  promised?.state === 'leaving' || promised?.state === 'left';

/** Opens what a power cut left, and says what is wrong with it; nothing is a proof. */
export const broken = async (dir: string, ledger: Ledger, generationBytes: number): Promise<string[]> => {
  const wrong: string[] = [];
  const store = await openStore(dir, { generationBytes });
  try {
    for (const damage of store.report.damage) wrong.push(`a false alarm: ${JSON.stringify(damage)}`);
    const entries = new Map<string, Entry>();
    for (const entry of await all(store.list())) {
      if (entries.has(entry.id)) wrong.push(`${entry.id} is listed twice`);
      entries.set(entry.id, entry);
    }
    for (const [id, { state, seq, into }] of ledger) {
      const entry = entries.get(id);
      const whole = into !== undefined && (entries.has(into) || isLeaving(ledger.get(into)));
      if (state === 'composing' && entries.has(id) === whole)
        wrong.push(`${id} is ${entry ? 'beside' : 'lost with'} what it was to be in`);
      if (entry && state === 'left') wrong.push(`${id} came back`);
      if (!entry && /^(stored|dying|dead)$/.test(state)) wrong.push(`${id} (${seq}, ${state}) is lost`);
      if (entry && state === 'dead' && entry.state !== 'dead')
        wrong.push(`${id} is ${entry.state}, not dead`);
      if (entry && seq !== undefined && entry.seq !== seq) wrong.push(`${id} has the number ${entry.seq}`);
    }
    for (const entry of entries.values()) {
      const promised = ledger.get(entry.id);
      if (!promised) wrong.push(`${entry.id} was never accepted`);
      else if (sha256(await bodyOf(store, entry)) !== promised.sha256) wrong.push(`${entry.id} is torn`);
    }
    const next = await put(store, 'after the cut', { destination: 'next' });
    for (const [id, { seq }] of ledger) if (seq === next.seq) wrong.push(`${id}'s number was given again`);
    for (const { id } of entries.values()) await store.delivered(id, 'ok');
  } catch (cause) {
    wrong.push(String(cause));
  } finally {
    await store.close();
  }
  return wrong;
};
