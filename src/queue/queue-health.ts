// Whether the queue works, for probes and for the control plane. It does where its event loop turns, which an answer proves, and where the
// disk under the store answers. A queue that is only busy, that opens a large store, or whose disk is full lives.

import type { StallWatch } from '../platform/stall-watch.ts';
import type { HealthChecks } from '../wire/health-server.ts';
import type { DiskProof } from './disk-proof.ts';

/** A disk that lets an operation wait longer does not work, ms. */
const NOT_READY_MS = 10_000;
/** Where it waits longer, a restart is the only thing left to try, ms. */
const NOT_ALIVE_MS = 60_000;

export class QueueHealth implements HealthChecks {
  readonly #stalls: Pick<StallWatch, 'oldest'>;
  readonly #proof: Pick<DiskProof, 'asked' | 'problem'>;
  /** What of the start is not done yet. */
  starting: string | undefined = 'the store is being opened';

  constructor(stalls: Pick<StallWatch, 'oldest'>, proof: Pick<DiskProof, 'asked' | 'problem'>) {
    this.#stalls = stalls;
    this.#proof = proof;
  }

  notAlive(): string | undefined {
    return this.#hangs(NOT_ALIVE_MS);
  }

  notReady(): string | undefined {
    if (this.starting !== undefined) return this.starting;
    this.#proof.asked();
    const { problem } = this.#proof;
    return (
      this.#hangs(NOT_READY_MS) ?? (problem && `the disk of the store does not take writes (${problem})`)
    );
  }

  #hangs(limit: number): string | undefined {
    const { oldest } = this.#stalls;
    if (!oldest || oldest.ms < limit) return undefined;
    return `the disk does not answer: ${oldest.what} has been under way for ${Math.round(oldest.ms / 1000)} s`;
  }
}
