// Bodies that the sidecar holds whole before anything of them leaves, since they are signed: never more at once than this, for each upstream.

/** Two of the longest (policy/signature.ts), bytes. */
const AT_ONCE = 32 * 1024 * 1024;

interface Waiting {
  bytes: number;
  go: () => void;
}

export class HeldBodies {
  readonly #most: number;
  readonly #upstreams = new Map<string, { held: number; waiting: Waiting[] }>();

  constructor(most = AT_ONCE) {
    this.#most = most;
  }

  /** Resolves when it is its turn, with what ends it. Rejects with the signal's reason. */
  async take(upstream: string, bytes: number, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const state = this.#upstreams.get(upstream) ?? { held: 0, waiting: [] };
    this.#upstreams.set(upstream, state);
    const next = (): void => {
      for (let first = state.waiting[0]; first; first = state.waiting[0]) {
        // One alone goes, however long it is.
        if (state.held > 0 && state.held + first.bytes > this.#most) return;
        state.waiting.shift();
        state.held += first.bytes;
        first.go();
      }
      if (state.held === 0) this.#upstreams.delete(upstream);
    };
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const mine: Waiting = { bytes, go: resolve };
    const leave = (): void => {
      state.waiting = state.waiting.filter((one) => one !== mine);
      reject(signal.reason);
      next();
    };
    signal.addEventListener('abort', leave, { once: true });
    state.waiting.push(mine);
    next();
    await promise.finally(() => signal.removeEventListener('abort', leave));
    return () => {
      state.held -= bytes;
      next();
    };
  }
}
