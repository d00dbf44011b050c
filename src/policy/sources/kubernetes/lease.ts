// One leader among several processes, by a Lease (coordination.k8s.io/v1). States: following (another holds it), held, lost (no renewal came through
// in time). As client-go does it: clocks of others are not trusted, so a holder is given up when its Lease has not changed for its
// duration by the own clock; and the holder itself gives up sooner than that.

import { setTimeout as sleep } from 'node:timers/promises';
import { timerMs } from '../../../platform/timer.ts';
import type { LaybyError } from '../../../telemetry/error.ts';
import type { Api } from './api.ts';
import { microTime } from './micro-time.ts';
import { hasStatus, orNone, problemOf } from './refusal.ts';

export interface LeaseOptions {
  api: Api;
  namespace: string;
  name: string;
  /** Of this process; no other has it. */
  identity: string;
  /** Without a renewal another takes it after this, s; default 15. */
  duration?: number;
  /** Between two renewals, s; default: a third of the duration. */
  renew?: number;
  onChange: (held: boolean) => void;
  /** It goes on by itself. */
  onProblem: (problem: LaybyError) => void;
}

interface Spec {
  holderIdentity?: string;
  leaseDurationSeconds?: number;
  acquireTime?: string;
  renewTime?: string;
  leaseTransitions?: number;
}

interface LeaseObject {
  metadata: { resourceVersion: string };
  spec?: Spec;
}

const DURATION_S = 15;
/** Of the duration: after so long without a renewal the holder no longer acts. */
const DEADLINE = 2 / 3;

export class Lease {
  readonly #options: LeaseOptions;
  readonly #duration: number;
  readonly #end = new AbortController();
  #running: Promise<void> | undefined;
  #seen: { version: string; at: number } | undefined;
  /** The begin of the last renewal that came through, performance.now(). */
  #renewedAt: number | undefined;
  #told = false;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#duration = options.duration ?? DURATION_S;
  }

  /** Asked before each act of the leader: a process that slept is no leader when it awakes. */
  get held(): boolean {
    return (
      this.#renewedAt !== undefined && performance.now() - this.#renewedAt < this.#duration * DEADLINE * 1_000
    );
  }

  get #collection(): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(this.#options.namespace)}/leases`;
  }

  get #path(): string {
    return `${this.#collection}/${encodeURIComponent(this.#options.name)}`;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    const { renew = this.#duration / 3, onProblem } = this.#options;
    const { signal } = this.#end;
    while (!signal.aborted) {
      try {
        await this.#turn();
      } catch (error) {
        // Of two that take it at once, one is too late: 409.
        if (!hasStatus(error, 409)) onProblem(problemOf(error));
      }
      this.#tell();
      await sleep(timerMs(renew * 1_000 * (0.8 + 0.2 * Math.random())), undefined, { signal }).catch(
        () => {},
      );
    }
  }

  #tell(): void {
    const { held } = this;
    if (held === this.#told) return;
    this.#told = held;
    this.#options.onChange(held);
  }

  async #turn(): Promise<void> {
    const { api, identity, name, namespace } = this.#options;
    const began = performance.now();
    const lease = await this.#get();
    const mine = (before: Spec): Spec => {
      const now = microTime();
      const same = before.holderIdentity === identity;
      return {
        holderIdentity: identity,
        leaseDurationSeconds: this.#duration,
        acquireTime: same ? (before.acquireTime ?? now) : now,
        renewTime: now,
        leaseTransitions: (before.leaseTransitions ?? 0) + (same ? 0 : 1),
      };
    };
    if (!lease) {
      const metadata = { name, namespace };
      await api.post(this.#collection, {
        ...{ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata },
        spec: { ...mine({}), leaseTransitions: 0 },
      });
    } else {
      const { spec = {}, metadata } = lease;
      const { holderIdentity = '', leaseDurationSeconds = DURATION_S } = spec;
      if (this.#seen?.version !== metadata.resourceVersion)
        this.#seen = { version: metadata.resourceVersion, at: performance.now() };
      const expired = performance.now() - this.#seen.at >= leaseDurationSeconds * 1_000;
      if (holderIdentity !== '' && holderIdentity !== identity && !expired) {
        this.#renewedAt = undefined;
        return;
      }
      await api.put(this.#path, { ...lease, spec: mine(spec) });
    }
    this.#renewedAt = began;
  }

  async #get(): Promise<LeaseObject | undefined> {
    return (await this.#options.api.get(this.#path, this.#end.signal).catch(orNone(404))) as
      | LeaseObject
      | undefined;
  }

  /** Another may take it at once. `release` false: as if the process had died. */
  async close({ release = true } = {}): Promise<void> {
    this.#end.abort();
    await this.#running;
    const { held } = this;
    this.#renewedAt = undefined;
    if (!held || !release) return;
    try {
      const lease = (await this.#options.api.get(this.#path)) as LeaseObject;
      if (lease.spec?.holderIdentity !== this.#options.identity) return;
      const spec = { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: microTime() };
      await this.#options.api.put(this.#path, { ...lease, spec });
    } catch {
      // It expires.
    }
  }
}
