// Whether the disk of an idle queue still takes writes. Asked by probes; it writes only where the store has written nothing since the last
// proof, and seldom, since flash wears: 512 bytes in place, so that a full disk takes them too.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { StallWatch } from '../platform/stall-watch.ts';
import { messageOf } from '../telemetry/error.ts';

/** The least time between two proofs, ms. */
const EVERY_MS = 30_000;
const BYTES = 512;
/** A full disk is no failure: what is stored is sent on, and apps are told. */
const isFull = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');
const FLAGS = constants.O_RDWR | constants.O_CREAT;

export class DiskProof {
  readonly #path: string;
  readonly #stalls: StallWatch;
  readonly #every: number;
  #writing: Promise<void> | undefined;
  #last = Number.NEGATIVE_INFINITY;
  #written = -1;
  /** Why the last write failed; undefined: it did not. */
  problem: string | undefined;

  /** `stalls` knows what the store writes. */
  constructor(path: string, stalls: StallWatch, every = EVERY_MS) {
    this.#path = path;
    this.#stalls = stalls;
    this.#every = every;
  }

  /** Starts a write where one is due. Never rejects. */
  asked(): void {
    const now = performance.now();
    if (this.#writing || now - this.#last < this.#every) return;
    this.#last = now;
    // What the store has written since then proves it too.
    const { written } = this.#stalls;
    const proven = written !== this.#written;
    this.#written = written;
    if (proven && this.problem === undefined) return;
    this.#writing = this.#stalls
      .watch('a write to the disk of the store', this.#write())
      .then(
        () => undefined,
        (error: unknown) => (isFull(error) ? undefined : messageOf(error)),
      )
      .then((problem) => {
        this.problem = problem;
        this.#writing = undefined;
      });
  }

  async #write(): Promise<void> {
    const file = await open(this.#path, FLAGS, 0o600);
    try {
      await file.write(Buffer.alloc(BYTES, new Date().toISOString()), 0, BYTES, 0);
      await file.datasync();
    } finally {
      await file.close();
    }
  }
}
