// The entries of one destination that were answered with 401, 403 or something suspicious, and what follows for each. Kept in memory:
// after a restart they are counted from the start, so a dead letter comes later, never earlier. Pure: the time comes in, ms of one clock.

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

export class Refusals {
  readonly #refused = new Map<string, Refused>();
  /** When an entry was delivered last. */
  #deliveredAt = Number.NEGATIVE_INFINITY;
  readonly #random: () => number;

  /** `random`: 0 ≤ x < 1. */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** After a 401 or 403. `signed`: the mesh authorizes the request (meshAuthorizes). */
  unauthorized(id: string, signed: boolean, now: number): NextStep {
    const { count, since } = this.#count(id, 'unauthorized', now);
    return afterUnauthorized({ signed, refusals: count, age: now - since }, this.#random);
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
    // At the end again, so that the first of the map is the oldest.
    this.#refused.delete(id);
    this.#refused.set(id, refused);
    if (this.#refused.size > MOST) this.#refused.delete(this.#refused.keys().next().value!);
    return refused;
  }

  /** An entry was delivered, so the credentials may be right again, and there is no portal. Returns the ids whose pause is to end now: those
   *  that were not refused beside a success before. */
  delivered(id: string, now: number): string[] {
    this.#refused.delete(id);
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

  /** It has left, or was answered otherwise. */
  forget(id: string): void {
    this.#refused.delete(id);
  }
}
