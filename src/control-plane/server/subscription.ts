// What one client has asked for, been sent and acknowledged, of one type. No I/O: the transports ask it what to do.
//
// States: waiting (for the first request, or for the ACK or NACK of the response that is out) and answered. While waiting,
// newer versions are merged: only the newest goes out once the answer is in. A NACKed version is never sent again by itself.

import type { TypeSnapshot } from '../snapshot.ts';

export interface SubscriptionStatus {
  names: string[] | '*';
  sent?: string;
  acked?: string;
  /** Envoy's words for the version that it refused. */
  nack?: { version: string; message: string };
  waiting: boolean;
}

export class Subscription {
  #wildcardType: boolean;
  #names: ReadonlySet<string> | '*' = new Set();
  #nonce = 0;
  #sent: string | undefined;
  #acked: string | undefined;
  #nack: { version: string; message: string } | undefined;
  /** Before the first request nothing is owed. */
  #waiting = true;
  /** The names changed since the last response: it is owed whatever the version. */
  #owed = false;

  constructor(wildcardType: boolean) {
    this.#wildcardType = wildcardType;
  }

  /** Takes a request. `nonce` is empty on the first of a stream. Returns what it was. */
  request(
    names: string[],
    nonce: string,
    error?: { message: string },
  ): 'subscribe' | 'ack' | 'nack' | 'stale' {
    if (nonce !== '' && nonce !== String(this.#nonce)) return 'stale';
    const asked: ReadonlySet<string> | '*' =
      this.#wildcardType && (names.length === 0 || names.includes('*')) ? '*' : new Set(names);
    const changed = !sameNames(this.#names, asked);
    this.#names = asked;
    if (nonce === '') {
      this.#owed = true;
      this.#waiting = false;
      return 'subscribe';
    }
    this.#waiting = false;
    if (changed) this.#owed = true;
    if (error) {
      this.#nack = { version: this.#sent ?? '', message: error.message };
      return 'nack';
    }
    this.#acked = this.#sent;
    this.#nack = undefined;
    return 'ack';
  }

  /** What is owed now of this snapshot: the names to send, or undefined. */
  owed(snapshot: TypeSnapshot): string[] | undefined {
    if (this.#waiting) return undefined;
    if (!this.#owed && this.#sent === snapshot.version) return undefined;
    if (this.#names === '*') return [...snapshot.resources.keys()];
    return [...this.#names].filter((name) => snapshot.resources.has(name));
  }

  /** A response with this version goes out; returns its nonce. */
  sending(version: string): string {
    this.#sent = version;
    this.#owed = false;
    this.#waiting = true;
    this.#nonce += 1;
    return String(this.#nonce);
  }

  /** The client has answered for this version: taken or refused. */
  settled(version: string): boolean {
    return !this.#waiting && (this.#acked === version || this.#nack?.version === version);
  }

  /** The version that the client took last. */
  get acked(): string | undefined {
    return this.#acked;
  }

  status(): SubscriptionStatus {
    return {
      names: this.#names === '*' ? '*' : [...this.#names],
      ...(this.#sent === undefined ? {} : { sent: this.#sent }),
      ...(this.#acked === undefined ? {} : { acked: this.#acked }),
      ...(this.#nack ? { nack: this.#nack } : {}),
      waiting: this.#waiting,
    };
  }
}

function sameNames(a: ReadonlySet<string> | '*', b: ReadonlySet<string> | '*'): boolean {
  if (a === '*' || b === '*') return a === b;
  return a.size === b.size && [...a].every((name) => b.has(name));
}
