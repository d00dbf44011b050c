// What happens in a row becomes one: each change costs every sidecar something.

import { timerMs } from '../../../platform/timer.ts';

/** After so long without another, ms. */
const QUIET_MS = 30;
/** Under changes that never stop, ms. */
const LONGEST_WAIT_MS = 500;

export class Gathering {
  readonly #act: () => void;
  #timer: NodeJS.Timeout | undefined;
  /** The first change that is not acted on yet, performance.now(). */
  #since: number | undefined;

  constructor(act: () => void) {
    this.#act = act;
  }

  changed(): void {
    const now = performance.now();
    this.#since ??= now;
    clearTimeout(this.#timer);
    const wait = Math.max(0, Math.min(QUIET_MS, this.#since + LONGEST_WAIT_MS - now));
    this.#timer = setTimeout(() => {
      this.#since = undefined;
      this.#act();
    }, timerMs(wait));
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}
