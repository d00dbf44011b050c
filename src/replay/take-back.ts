// Uploads that were begun and are given up, since their entry was dropped, has expired or is a dead letter, are taken back at the
// destination: parts that nobody completes are kept there, and paid for. What there is to take back the store knows, also after a restart.

import type { Egress } from '../egress/egress.ts';
import type { Destination } from '../policy/policy.ts';
import type { Store } from '../store/store.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { abortIetf, isIetfBegun } from './deliver/ietf.ts';
import { destinationAt } from './deliver/place.ts';
import { abortUpload, isBegun } from './deliver/s3/begun.ts';
import { abortTus, isTusBegun } from './deliver/tus.ts';

/** Without a link, or where the destination does not take it back now, it is asked again after so long, ms. */
const AGAIN_MS = 60_000;

export interface TakeBackOptions {
  store: Store;
  egress: Egress;
  log: Logger;
  destination: (name: string) => Destination | undefined;
  /** A try of the entry is still ending: it may note more. */
  isRunning: (id: string) => boolean;
}

/** What tells one upload of an entry from another. */
const nameOf = (progress: unknown): string | undefined =>
  isBegun(progress)
    ? progress.uploadId
    : isTusBegun(progress) || isIetfBegun(progress)
      ? progress.upload
      : undefined;

export class TakeBack {
  readonly #options: TakeBackOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #due = false;
  /** What is left to a try that is still ending. */
  readonly #after = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: TakeBackOptions) {
    this.#options = options;
  }

  /** An entry left, or a link is back. */
  soon(): void {
    this.#due = true;
    if (this.#running || this.#stop.signal.aborted) return;
    clearTimeout(this.#timer);
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      if (this.#due) this.soon();
    });
  }

  tryEnded(id: string): void {
    if (this.#after.delete(id)) this.soon();
  }

  async #run(): Promise<void> {
    this.#due = false;
    const { store, log, isRunning } = this.#options;
    let left = false;
    try {
      for await (const { id, progress } of store.leftBehind()) {
        if (this.#stop.signal.aborted) return;
        if (isRunning(id)) {
          this.#after.add(id);
          continue;
        }
        if (!(await this.#takeBack(id, progress))) left = true;
      }
    } catch (error) {
      left = true;
      if (!this.#stop.signal.aborted) log.info({ err: messageOf(error) }, 'an upload is not taken back yet');
    }
    if (left && !this.#stop.signal.aborted) {
      this.#timer = setTimeout(() => this.soon(), AGAIN_MS).unref();
    }
  }

  /** false: later. */
  async #takeBack(id: string, progress: unknown): Promise<boolean> {
    const { store, egress, log, destination } = this.#options;
    if (isBegun(progress) || isTusBegun(progress) || isIetfBegun(progress)) {
      const named = destination(progress.destination);
      const there = named && destinationAt(named, progress);
      if (!there) return false;
      const { signal } = this.#stop;
      const { gone, status } = isBegun(progress)
        ? await abortUpload(egress, there, id, progress, signal)
        : await (isTusBegun(progress)
            ? abortTus(egress, there, id, progress, signal)
            : abortIetf(egress, there, id, progress, signal));
      if (!gone) return false;
      const upload = nameOf(progress);
      log.info({ id, destination: there.name, upload, status }, 'upload taken back');
      // An operator may have had it tried again meanwhile, and then it is a new upload that is written down.
      if (nameOf(await store.progress(id)) !== upload) return true;
    }
    await store.setProgress(id, undefined);
    return true;
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#stop.abort();
    await this.#running;
  }
}
