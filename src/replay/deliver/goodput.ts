// What a way has carried lately. Pure: durations come in.

/** A transfer of fewer bytes says more of the delay than of the rate. */
const TELLING_BYTES = 512 * 1024;
/** How much the latest transfer counts. */
const WEIGHT = 0.4;

export class Goodput {
  #rate: number | undefined;

  /** bytes per second; undefined while nothing is known. */
  get rate(): number | undefined {
    return this.#rate;
  }

  /** `bytes` were taken and answered within `ms`, while `beside` others were on the same way. */
  note(bytes: number, ms: number, beside = 0): void {
    if (bytes < TELLING_BYTES || ms <= 0) return;
    const rate = (bytes / ms) * 1000 * (1 + beside);
    this.#rate = this.#rate === undefined ? rate : this.#rate * (1 - WEIGHT) + rate * WEIGHT;
  }
}
