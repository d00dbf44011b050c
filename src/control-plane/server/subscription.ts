// What one client has asked for, been sent and answered, of one type on one stream. No I/O, and no transport: sotw.ts and delta.ts
// say what a request of theirs means, and what of the difference they can carry.
//
// States: asked (a request is in, nothing is out), out (a response waits for its ACK or NACK), answered. While one is out, newer
// content is merged: only the newest goes out once the answer is in. What was refused is not sent again before it has changed.

import {
  type Difference,
  difference,
  type ServedResource,
  type ServedResources,
  type TypeSnapshot,
} from '../snapshot.ts';
import type { TypeName } from '../types.ts';

/** What the client has: by us the whole resource, by an earlier instance only what it says of its version. */
export type Held = ReadonlyMap<string, { readonly version: string; readonly any?: ServedResource['any'] }>;

export interface Refusal {
  version: string;
  /** The client's words. */
  message: string;
  /** Date.now() */
  at: number;
  /** Those that the words name, or all that were sent. */
  names: ReadonlySet<string>;
}

interface Out {
  nonce: string;
  version: string;
  /** Date.now() */
  at: number;
  /** It carried everything, not only what had changed. */
  full: boolean;
  changed: readonly ServedResource[];
  removed: readonly string[];
}

/** Why something is not sent yet. */
export interface Wait {
  what: 'updates' | 'removals';
  /** Date.now() */
  since: number;
  why: string;
}

export interface SubscriptionStatus {
  names: string[] | '*';
  sent?: string;
  acked?: string;
  nack?: { version: string; message: string };
  /** A response is out, and not answered yet. */
  waiting: boolean;
  /** Of the response that is out. */
  sentAt?: string;
  acks: number;
  nacks: number;
  /** What of the newest content is not sent yet, and why. */
  heldBack: { what: Wait['what']; since: string; why: string }[];
}

const NOTHING: Held = new Map();

/** True of each name in the message that stands for itself. */
const named = (message: string, name: string): boolean => {
  for (let at = message.indexOf(name); at >= 0; at = message.indexOf(name, at + 1)) {
    const around = [message[at - 1] ?? ' ', message[at + name.length] ?? ' '];
    if (!around.some((letter) => /[\w/-]/.test(letter))) return true;
  }
  return false;
};

export class Subscription {
  readonly type: TypeName;
  wildcard = false;
  readonly names = new Set<string>();
  /** It said what it has of an earlier stream. */
  resumed = false;
  /** An answer is due even if there is nothing to put into it. */
  due = false;
  held: Held = NOTHING;
  /** To be sent, whatever the client has; or to be told that they do not exist. */
  readonly again = new Set<string>();
  acks = 0;
  nacks = 0;
  sent: string | undefined;
  acked: string | undefined;
  refusal: Refusal | undefined;
  waits: readonly Wait[] = [];
  #taken: Held = NOTHING;
  #out: Out | undefined;
  #nonce = 0;

  constructor(type: TypeName) {
    this.type = type;
  }

  get out(): Readonly<Out> | undefined {
    return this.#out;
  }

  /** Nonce of the last response; undefined before the first. */
  get nonce(): string | undefined {
    return this.#nonce === 0 ? undefined : String(this.#nonce);
  }

  /** It has what `version` says, from an earlier stream: nothing is sent for it. */
  resume(held: Held, version: string): void {
    this.resumed = true;
    this.held = held;
    this.#taken = held;
    this.sent = version;
    this.acked = version;
  }

  /** As it was said: names, and `*`. */
  get asked(): ReadonlySet<string> {
    return new Set(this.wildcard ? ['*', ...this.names] : this.names);
  }

  subscribe(name: string): void {
    if (name === '*') this.wildcard = true;
    else this.names.add(name);
  }

  /** What was named alone is no longer known of the client. */
  unsubscribe(name: string): void {
    if (name === '*') this.wildcard = false;
    const named = this.names.delete(name);
    this.again.delete(name);
    // Still wanted by the wildcard: the client has dropped what it had by name, and is sent the state of it anew.
    if (named && this.wildcard) this.again.add(name);
  }

  /** Drops what the client no longer wants from what it is known to have. */
  forgetUnwanted(): void {
    if (this.wildcard) return;
    const unwanted = [...this.held.keys()].filter((name) => !this.names.has(name));
    if (unwanted.length === 0) return;
    const held = new Map(this.held);
    for (const name of unwanted) held.delete(name);
    this.held = held;
  }

  /** An answer with the current nonce. Returns what it was. */
  answer(error: { message: string } | undefined): 'ack' | 'nack' | 'nothing' {
    const out = this.#out;
    if (!out) return 'nothing';
    this.#out = undefined;
    if (error) {
      this.nacks += 1;
      const all = out.changed.map(({ name }) => name);
      const words = all.filter((name) => named(error.message, name));
      const refused = words.length > 0 ? words : all;
      const names = new Set([...(this.refusal?.names ?? []), ...refused]);
      if (!out.full) this.#takeAllBut(names);
      this.refusal = { version: out.version, message: error.message, at: Date.now(), names };
      return 'nack';
    }
    this.acks += 1;
    this.acked = out.version;
    this.#taken = this.held;
    this.#mend(out);
    return 'ack';
  }

  /** Of changes apart, those that were not refused are in force. */
  #takeAllBut(refused: ReadonlySet<string>): void {
    const taken = new Map(this.held);
    for (const name of refused) {
      const before = this.#taken.get(name);
      if (before) taken.set(name, before);
      else taken.delete(name);
    }
    this.#taken = taken;
  }

  /** What was refused, and has been taken in a later version or is gone, is over. */
  #mend({ full, changed, removed }: Out): void {
    if (full) this.refusal = undefined;
    if (!this.refusal) return;
    const names = new Set(this.refusal.names);
    for (const { name } of changed) names.delete(name);
    for (const name of removed) names.delete(name);
    for (const name of names) if (!this.held.has(name)) names.delete(name);
    this.refusal = names.size > 0 ? { ...this.refusal, names } : undefined;
  }

  /** What the client lacks of this snapshot, and has too much. */
  lacks(snapshot: TypeSnapshot): Difference {
    if (this.wildcard && this.names.size === 0 && this.again.size === 0)
      return difference(this.held, snapshot.resources);
    const changed: ServedResource[] = [];
    const removed: string[] = [];
    const wanted = this.wildcard
      ? new Set([...snapshot.resources.keys(), ...this.names, ...this.held.keys()])
      : new Set([...this.names, ...this.held.keys()]);
    for (const name of [...this.again]) if (!this.wildcard && !this.names.has(name)) this.again.delete(name);
    for (const name of this.again) wanted.add(name);
    for (const name of wanted) {
      const resource = this.wants(name, snapshot) ? snapshot.find(name) : undefined;
      const held = this.held.get(name);
      if (!resource) {
        if (held || this.again.has(name)) removed.push(name);
      } else if (held?.version !== resource.version || this.again.has(name)) changed.push(resource);
    }
    return { changed, removed };
  }

  wants(name: string, snapshot: TypeSnapshot): boolean {
    return this.names.has(name) || (this.wildcard && snapshot.resources.has(name));
  }

  /** All that it wants and exists. */
  wanted(snapshot: TypeSnapshot): ServedResources {
    if (this.wildcard && this.names.size === 0) return snapshot.resources;
    const found = this.wildcard ? new Map(snapshot.resources) : new Map<string, ServedResource>();
    for (const name of this.names) {
      const resource = snapshot.find(name);
      if (resource) found.set(name, resource);
    }
    return found;
  }

  /** A response goes out after which the client has `held`. Returns its nonce. */
  sending(version: string, held: Held, { changed, removed }: Difference, full: boolean): string {
    this.#nonce += 1;
    const nonce = String(this.#nonce);
    this.#out = { nonce, version, at: Date.now(), full, changed, removed };
    this.sent = version;
    this.held = held;
    this.due = false;
    for (const { name } of changed) this.again.delete(name);
    for (const name of removed) this.again.delete(name);
    return nonce;
  }

  /** Nothing is out, nothing is owed: it has answered for all that is served now, taken or refused. */
  settled(snapshot: TypeSnapshot): boolean {
    if (this.#out || this.due) return false;
    const { changed, removed } = this.lacks(snapshot);
    return changed.length === 0 && removed.length === 0;
  }

  /** What a status service says of one resource that is served now. */
  standing({ name, version }: ServedResource): 'SYNCED' | 'NOT_SENT' | 'STALE' | 'ERROR' {
    if (this.refusal?.names.has(name)) return 'ERROR';
    if (this.#taken.get(name)?.version === version && this.held.get(name)?.version === version)
      return 'SYNCED';
    return this.held.has(name) ? 'STALE' : 'NOT_SENT';
  }

  status(): SubscriptionStatus {
    const { refusal } = this;
    return {
      names: this.wildcard ? '*' : [...this.names],
      ...(this.sent === undefined ? {} : { sent: this.sent }),
      ...(this.acked === undefined ? {} : { acked: this.acked }),
      ...(refusal ? { nack: { version: refusal.version, message: refusal.message } } : {}),
      waiting: this.#out !== undefined,
      ...(this.#out ? { sentAt: new Date(this.#out.at).toISOString() } : {}),
      acks: this.acks,
      nacks: this.nacks,
      heldBack: this.waits.map(({ what, since, why }) => ({
        what,
        since: new Date(since).toISOString(),
        why,
      })),
    };
  }
}
