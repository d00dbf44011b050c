// The entries of one destination that were not taken, and what follows for each: after 401 or 403 (unauthorized.ts), after something
// suspicious (suspicious.ts), and after any answer that may change, where the destination takes others meanwhile (give-up.ts). The last is
// kept with the entry; the rest in memory, and counted from the start after a restart, so a dead letter comes later, never earlier.
// Pure: the time comes in, ms of one clock.

import type { Entry, Stuck } from '../store/store.ts';
import { longestPause, refusedAlone } from './give-up.ts';
import { afterSuspicious } from './suspicious.ts';
import { afterUnauthorized, type NextStep } from './unauthorized.ts';

type Kind = 'unauthorized' | 'suspicious';

interface Refused {
  kind: Kind;
  /** In a row. */
  count: number;
  since: number;
  last: number;
  /** It was refused again although others were delivered since: a success of others says nothing of it. */
  alone: boolean;
}

/** Entries that are remembered; the one that was refused the longest ago is forgotten first. */
const MOST = 4096;

/** Puts it at the end: the first of the map is the oldest. */
const remember = <Value>(map: Map<string, Value>, id: string, value: Value): void => {
  map.delete(id);
  map.set(id, value);
  if (map.size > MOST) map.delete(map.keys().next().value!);
};

export class Refusals {
  readonly #refused = new Map<string, Refused>();
  /** When the destination refused each last. */
  readonly #lastAt = new Map<string, number>();
  /** When an entry was delivered last. */
  #deliveredAt = Number.NEGATIVE_INFINITY;
  readonly #random: () => number;

  /** `random`: 0 ≤ x < 1. */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** After any answer that may change. `wall`: the wall clock, ms. Returns what is known of the entry as one that is refused alone. */
  refused(
    { id, stuck }: Pick<Entry, 'id' | 'stuck'>,
    { status, giveUpAfter }: { status: number; giveUpAfter: number },
    now: number,
    wall: number,
  ): Stuck | undefined {
    const last = this.#lastAt.get(id);
    remember(this.#lastAt, id, now);
    if (last === undefined || this.#deliveredAt <= last) return stuck;
    return refusedAlone(stuck, { status, elapsed: now - last, giveUpAfter, at: wall });
  }

  /** After a 401 or 403. `signed`: the mesh authorizes the request (meshAuthorizes). `giveUpAfter`: of an entry that is refused alone, ms. */
  unauthorized(id: string, signed: boolean, now: number, giveUpAfter?: number): NextStep {
    const { count, since } = this.#count(id, 'unauthorized', now);
    const longest = giveUpAfter === undefined ? {} : { longest: longestPause(giveUpAfter) };
    return afterUnauthorized({ signed, refusals: count, age: now - since, ...longest }, this.#random);
  }

  /** After an answer that the destination has probably not given. */
  suspicious(id: string, now: number): NextStep {
    const { count, since } = this.#count(id, 'suspicious', now);
    const othersDelivered = this.#deliveredAt > since;
    return afterSuspicious({ answers: count, age: now - since, othersDelivered }, this.#random);
  }

  #count(id: string, kind: Kind, now: number): Refused {
    const known = this.#refused.get(id);
    const refused: Refused =
      known?.kind === kind
        ? { ...known, count: known.count + 1, last: now, alone: this.#deliveredAt > known.last }
        : { kind, count: 1, since: now, last: now, alone: false };
    remember(this.#refused, id, refused);
    return refused;
  }

  /** An entry was delivered, or a request that is none (`id`: undefined), so the credentials may be right again, and there is no portal.
   *  Returns the ids whose pause is to end now: those that were not refused beside a success before. */
  delivered(id: string | undefined, now: number): string[] {
    if (id !== undefined) this.forget(id);
    this.#deliveredAt = now;
    const others = [...this.#refused].filter(([, { alone }]) => !alone);
    for (const [, refused] of others) {
      // The pauses start small again; a suspicious answer keeps its count, since a success refutes the portal.
      if (refused.kind === 'unauthorized') Object.assign(refused, { count: 0, since: now });
      refused.alone = true;
    }
    return others.map(([other]) => other);
  }

  /** The policy's credentials have changed. Returns the ids whose pause is to end now. */
  credentialsChanged(): string[] {
    const ids = [...this.#refused].flatMap(([id, { kind }]) => (kind === 'unauthorized' ? [id] : []));
    for (const id of ids) this.#refused.delete(id);
    return ids;
  }

  /** It was answered otherwise than by 401, 403 or something suspicious. */
  otherwise(id: string): void {
    this.#refused.delete(id);
  }

  /** It has left. */
  forget(id: string): void {
    this.#refused.delete(id);
    this.#lastAt.delete(id);
  }
}
