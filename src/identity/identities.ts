// Which certificates are in use, kept fresh: each is renewed when half of its life is over, so that a control plane that is away
// for hours disturbs nobody, and all of them when the authority was rotated. Who gets which is for who asks.

import { timerMs } from '../platform/timer.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Credential, Issuer } from './authority.ts';

/** ms */
const LIFE = 24 * 3_600_000;
/** Short, since a clock that was set may have made all of them old at once, ms. */
const LOOK = 10_000;

export interface IdentitiesOptions {
  trustDomain: string;
  /** Opened when it is first needed: most meshes on one machine never do. */
  authority: () => Promise<Issuer>;
  log: Logger;
  /** Of a certificate, ms; default a day. */
  life?: number;
  /** Between two looks at the clock and at the authority, ms. */
  look?: number;
}

/** A certificate, and the roots that all trust (PEM). */
export type Tell = (credential: Credential, roots: string) => void;

export class Identities {
  readonly trustDomain: string;
  readonly #options: Required<IdentitiesOptions>;
  readonly #timer: NodeJS.Timeout;
  readonly #users = new Map<string, Set<Tell>>();
  readonly #held = new Map<string, Credential>();
  #authority: Issuer | undefined;
  #looking: Promise<void> | undefined;

  constructor(options: IdentitiesOptions) {
    this.trustDomain = options.trustDomain;
    this.#options = { life: LIFE, look: LOOK, ...options };
    this.#timer = setInterval(() => this.#look(), timerMs(this.#options.look)).unref();
  }

  /** Calls back with the certificate of this identity, now and whenever there is a newer one or other roots, until the returned
   *  function is called. */
  use(id: string, tell: Tell): () => void {
    const users = this.#users.get(id) ?? new Set();
    this.#users.set(id, users.add(tell));
    const held = this.#held.get(id);
    if (held && this.#authority) tell(held, this.#authority.bundle);
    else this.#look();
    return () => {
      users.delete(tell);
      if (users.size > 0) return;
      this.#users.delete(id);
      this.#held.delete(id);
    };
  }

  /** Issues what is missing or old; what cannot be issued is tried again at the next look. */
  #look(): void {
    if (this.#users.size === 0) return;
    this.#looking ??= this.#renew()
      .then(
        () => true,
        (err) => {
          this.#options.log.error({ err }, 'certificates cannot be issued; those in use stay');
          return false;
        },
      )
      .then((done) => {
        this.#looking = undefined;
        const missing = [...this.#users.keys()].some((id) => !this.#held.has(id));
        if (done && missing) this.#look(); // they came meanwhile
      });
  }

  async #renew(): Promise<void> {
    const { life, log } = this.#options;
    this.#authority ??= await this.#options.authority();
    if (await this.#authority.reload()) {
      log.warn('the certificate authority was rotated: all certificates are renewed');
      this.#held.clear();
    }
    for (const [id, users] of this.#users) {
      const held = this.#held.get(id);
      // What an authority that ends soon would issue again is good for no longer.
      const { end = Number.POSITIVE_INFINITY } = this.#authority;
      if (held && (Date.now() < held.expiresAt - life / 2 || held.expiresAt >= end)) continue;
      const credential = await this.#authority.issue(id, life);
      this.#held.set(id, credential);
      for (const tell of users) tell(credential, this.#authority.bundle);
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#users.clear();
    await this.#looking;
  }
}
