// The addresses behind the names of upstreams, remembered: when the link is gone no name can be looked up, and the kernel
// knows routes to addresses only.

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';

/** Addresses of a name, IPv4 and IPv6. Rejects where there are none. */
export type Resolve = (name: string) => Promise<string[]>;

const systemResolve: Resolve = async (name) =>
  (await lookup(name, { all: true })).map(({ address }) => address);

interface Known {
  /** Empty: never resolved. The last ones stay when a later look-up fails. */
  addresses: string[];
  /** A look-up has ended, well or not. */
  tried: boolean;
  /** performance.now() of the end of the last look-up, ms. */
  at: number;
}

/** The address that a target is by itself: an IP literal, with or without brackets, or a loopback name (RFC 6761). */
const literal = (target: string): string | undefined => {
  const bare = target.replace(/^\[(.*)\]$/, '$1');
  if (isIP(bare)) return bare;
  const name = target.toLowerCase().replace(/\.$/, '');
  return name === 'localhost' || name.endsWith('.localhost') ? '127.0.0.1' : undefined;
};

export class AddressBook {
  readonly #resolve: Resolve;
  readonly #known = new Map<string, Known>();
  #running: Promise<boolean> | undefined;

  constructor(resolve: Resolve = systemResolve) {
    this.#resolve = resolve;
  }

  /** The addresses of a target as far as they are known; undefined: its first look-up has not ended. */
  addresses(target: string): string[] | undefined {
    const itself = literal(target);
    if (itself) return [itself];
    const known = this.#known.get(target);
    return known?.tried ? known.addresses : undefined;
  }

  /**
   * Looks up the names that were never resolved, and those resolved longer than `maxAge` ms ago; forgets what is no
   * target any more. One name at a time: without a link each look-up may hold one of the few threads that the store also
   * needs for many seconds. Resolves with true if something changed. Never rejects.
   */
  async refresh(targets: readonly string[], maxAge: number, changed?: () => void): Promise<boolean> {
    while (this.#running) await this.#running;
    this.#running = this.#refresh(targets, maxAge, changed);
    try {
      return await this.#running;
    } finally {
      this.#running = undefined;
    }
  }

  async #refresh(targets: readonly string[], maxAge: number, changed?: () => void): Promise<boolean> {
    const wanted = new Set(targets.filter((target) => !literal(target)));
    for (const name of this.#known.keys()) if (!wanted.has(name)) this.#known.delete(name);
    let any = false;
    for (const name of wanted) {
      const known = this.#known.get(name);
      if (known?.addresses.length && performance.now() - known.at < maxAge) continue;
      const found = await this.#resolve(name).catch(() => []);
      const addresses = found.length ? found.toSorted() : (known?.addresses ?? []);
      const same = known?.tried && known.addresses.join() === addresses.join();
      this.#known.set(name, { addresses, tried: true, at: performance.now() });
      if (same) continue;
      any = true;
      changed?.();
    }
    return any;
  }
}
