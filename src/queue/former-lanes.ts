// Keeps the order of requests over a change of policy (law 3). When a destination is renamed or removed, or a host goes to another
// destination, entries for that host may still be stored for the destination that served it before: its former lane. Nothing moves them but
// an operator (`layby queue move`), and nothing that is newer may pass them. So for the destination that serves the host now:
//
//   its lane counts as pending, so that its calls reach the queue
//   a request whose resource has an entry in a former lane is stored, and not cut through
//   an entry is not sent while an older one of its resource waits in a former lane (order strict: while any older one does)
//
// Which hosts a former lane has entries for is read from the entries, once. Until that is known it may be any host.

import { timerMs } from '../platform/timer.ts';
import type { Policy } from '../policy/policy.ts';
import { authorityOf, destinationServing, hostIn } from '../policy/serves.ts';
import { hostsLost } from '../policy/stranded.ts';
import { resourceOf } from '../store/resource.ts';
import type { Entry, Store, StoreEvent } from '../store/store.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import type { LaneNames } from './lane-names.ts';

/** Hosts of one lane that are told apart; with more it may have entries for any host. */
const HOSTS = 1_000;
/** Resources of one lane of which the oldest entry is remembered. */
const RESOURCES = 10_000;
/** After entries have left, the hosts of the others are read again, ms. */
const READ_AGAIN_MS = 1_000;
/** Until the disk knows that an entry has left, ms: a flush takes less. */
const LEAVING_MS = 50;

interface Former {
  /** undefined: not known, any host. */
  hosts: Set<string> | undefined;
  /** The hosts found so far, while they are read. */
  reading: Set<string> | undefined;
  /** By resource: the lowest seq that waits, Infinity where none does. Absent: not known. */
  oldest: Map<string, number>;
  /** Grows when entries come or leave. */
  version: number;
  timer: NodeJS.Timeout | undefined;
}

export interface FormerLanesOptions {
  store: Store;
  /** Names of lanes that have lost a host to another destination. */
  names: LaneNames;
  log: Logger;
  /** The former lanes of a destination have changed; `some`: there are any. */
  changed: (destination: string, some: boolean) => void;
  /** Entries of the destination may be sent that could not be before. */
  wake: (destination: string) => void;
}

export class FormerLanes {
  readonly #options: FormerLanesOptions;
  readonly #lanes = new Map<string, Former>();
  /** Lanes of destinations that have lost a host, as far as they have entries. */
  readonly #lost: Set<string>;
  #policy: Policy | undefined;
  #named: ReadonlySet<string> = new Set();
  /** By destination. */
  #former = new Map<string, string[]>();
  #settling: NodeJS.Immediate | undefined;
  #asking = new Set<string>();
  #closed = false;

  constructor(options: FormerLanesOptions) {
    this.#options = options;
    // Where that is not known, any lane may have lost one: what it has is read, and tells.
    this.#lost = new Set(options.names.load() ?? options.store.totals().keys());
    options.store.on('event', this.#event);
  }

  /** Takes effect before it returns: to be called before anything is sent by the new policy. */
  policy(next: Policy): void {
    const before = this.#policy;
    this.#policy = next;
    this.#named = new Set(next.destinations.map(({ name }) => name));
    if (before) {
      const lost = before.destinations.filter(
        ({ name }) => this.#named.has(name) && this.#holds(name) && hostsLost(before, next, name).length > 0,
      );
      for (const { name } of lost) {
        this.#lost.add(name);
        this.#forget(name);
      }
      if (lost.length > 0) this.#save();
    }
    for (const name of this.#lanes.keys()) if (!this.#isFormer(name)) this.#forget(name);
    for (const name of this.#options.store.totals().keys()) if (this.#isFormer(name)) this.#track(name);
    this.#settle();
  }

  /** Lanes with entries for hosts that this destination serves now. */
  of(destination: string): readonly string[] {
    return this.#former.get(destination) ?? [];
  }

  /** Destinations that serve hosts of which this lane has entries. */
  successors(lane: string): string[] {
    if (!this.#lanes.has(lane)) return [];
    return [...this.#former].flatMap(([name, lanes]) => (lanes.includes(lane) ? [name] : []));
  }

  /** As Store.occupied, former lanes included. */
  occupied(destination: string, url: string): Promise<boolean> | false {
    const { store } = this.#options;
    const asked = [destination, ...this.#lanesFor(destination, url)].flatMap((lane) => {
      const said = store.occupied(lane, url);
      return said === false ? [] : [said];
    });
    if (asked.length === 0) return false;
    return Promise.all(asked).then((said) => said.includes(true));
  }

  /** As Store.waitingFor, former lanes included; each lane the newest first, that of the destination before the others. */
  async *waitingFor(destination: string, url: string): AsyncGenerator<Entry> {
    for (const lane of [destination, ...this.#lanesFor(destination, url)])
      yield* this.#options.store.waitingFor(lane, url);
  }

  /** All entries of the destination, in the order in which they are delivered: former lanes first, as far as their entries are for hosts
   *  that the destination serves now, then its own. */
  async *entriesOf(destination: string): AsyncGenerator<Entry> {
    const { store } = this.#options;
    const policy = this.#policy;
    for (const lane of this.of(destination))
      for await (const entry of store.list({ destination: lane }))
        if (policy && destinationServing(policy, hostIn(authorityOf(entry.url)))?.name === destination)
          yield entry;
    yield* store.list({ destination });
  }

  /** Nothing older of its order key waits in a former lane. Where that is not known yet: false, and `wake` follows. */
  maySend({ destination, orderKey, url, seq }: Entry): boolean {
    if (orderKey === '' || this.of(destination).length === 0) return true;
    if (orderKey === '*') return this.of(destination).every((lane) => this.#firstSeq(lane) > seq);
    const resource = resourceOf(url);
    return this.#lanesFor(destination, url).every((lane) => {
      const known = this.#lanes.get(lane)?.oldest.get(resource);
      if (known === undefined) void this.#ask(lane, destination, url);
      return known !== undefined && known > seq;
    });
  }

  /** The oldest entry that `maySend` waits for; for people. */
  async before({ destination, orderKey, url, seq }: Entry): Promise<Entry | undefined> {
    let first: Entry | undefined;
    const take = (entry: Entry | undefined): void => {
      if (entry && entry.seq < Math.min(seq, first?.seq ?? seq)) first = entry;
    };
    const { store } = this.#options;
    if (orderKey === '') return undefined;
    if (orderKey === '*') {
      for (const lane of this.of(destination)) {
        const oldest = store.totals().get(lane)?.oldest;
        if (oldest) take(await store.get(oldest.id));
      }
    } else {
      for (const lane of this.#lanesFor(destination, url))
        for await (const entry of store.waitingFor(lane, url)) take(entry);
    }
    return first;
  }

  close(): void {
    this.#closed = true;
    this.#options.store.off('event', this.#event);
    clearImmediate(this.#settling);
    for (const { timer } of this.#lanes.values()) clearTimeout(timer);
  }

  #firstSeq(lane: string): number {
    return this.#options.store.totals().get(lane)?.oldest?.seq ?? Number.POSITIVE_INFINITY;
  }

  #lanesFor(destination: string, url: string): string[] {
    const lanes = this.#former.get(destination);
    if (!lanes) return [];
    const host = hostIn(authorityOf(url));
    return lanes.filter((lane) => {
      const former = this.#lanes.get(lane);
      return former && (!former.hosts || former.hosts.has(host));
    });
  }

  /** Entries that wait, or that an operator can make wait again. */
  #holds(lane: string): boolean {
    const totals = this.#options.store.totals().get(lane);
    return totals !== undefined && totals.entries + totals.dead > 0;
  }

  #isFormer(lane: string): boolean {
    return (!this.#named.has(lane) || this.#lost.has(lane)) && this.#holds(lane);
  }

  #track(lane: string): void {
    if (this.#lanes.has(lane)) return;
    const former: Former = {
      hosts: undefined,
      reading: undefined,
      oldest: new Map(),
      version: 0,
      timer: undefined,
    };
    this.#lanes.set(lane, former);
    void this.#read(lane, former);
  }

  #forget(lane: string): void {
    clearTimeout(this.#lanes.get(lane)?.timer);
    this.#lanes.delete(lane);
  }

  async #read(lane: string, former: Former): Promise<void> {
    const hosts = new Set<string>();
    former.reading = hosts;
    try {
      for await (const { state, url } of this.#options.store.list({ destination: lane })) {
        if (this.#closed || former.reading !== hosts) return;
        if (state !== 'quarantined') hosts.add(hostIn(authorityOf(url)));
        if (hosts.size > HOSTS) break;
      }
      if (former.reading !== hosts) return;
      former.hosts = hosts.size > HOSTS ? undefined : hosts;
    } catch (error) {
      if (!this.#closed)
        this.#options.log.error({ err: messageOf(error), lane }, 'the hosts of a former lane cannot be read');
    }
    former.reading = undefined;
    this.#soon();
  }

  readonly #event = ({ kind, destination, from, url }: StoreEvent): void => {
    if (!this.#policy || kind === 'sent') return;
    if (from !== undefined) this.#left(from);
    if (kind === 'stored' || kind === 'retried' || kind === 'edited' || kind === 'moved')
      this.#came(destination, kind, url);
    else this.#left(destination);
  };

  #came(lane: string, kind: StoreEvent['kind'], url: string | undefined): void {
    const former = this.#lanes.get(lane);
    if (former) {
      changed(former);
      if (kind === 'retried') return; // its host is among those that were read
      const host = url === undefined ? undefined : hostIn(authorityOf(url));
      if (host !== undefined && former.hosts?.has(host)) return;
      if (host !== undefined) {
        former.hosts?.add(host);
        former.reading?.add(host);
      } else {
        former.hosts = undefined;
        void this.#read(lane, former);
      }
    } else if (this.#isFormer(lane)) this.#track(lane);
    else return;
    this.#settle();
  }

  #left(lane: string): void {
    const former = this.#lanes.get(lane);
    if (!former) return;
    changed(former);
    if (former.hosts && former.hosts.size > 1 && !former.timer)
      former.timer = setTimeout(() => {
        former.timer = undefined;
        void this.#read(lane, former);
      }, READ_AGAIN_MS).unref();
    this.#soon();
  }

  /** Many entries may leave in one turn. */
  #soon(): void {
    if (this.#closed) return;
    this.#settling ??= setImmediate(() => {
      this.#settling = undefined;
      this.#settle();
    });
  }

  /** Says who is behind whom. */
  #settle(): void {
    const policy = this.#policy;
    if (!policy) return;
    for (const lane of this.#lanes.keys()) if (!this.#holds(lane)) this.#forget(lane);
    const ended = [...this.#lost].filter((lane) => !this.#holds(lane));
    for (const lane of ended) this.#lost.delete(lane);
    if (ended.length > 0) this.#save();
    const before = this.#former;
    this.#former = new Map();
    for (const [lane, { hosts }] of this.#lanes) {
      if ((this.#options.store.totals().get(lane)?.entries ?? 0) === 0) continue;
      const served = hosts
        ? [...hosts].map((host) => destinationServing(policy, host)?.name)
        : policy.destinations.map(({ name }) => name);
      for (const name of new Set(served))
        if (name !== undefined && name !== lane)
          this.#former.set(name, [...(this.#former.get(name) ?? []), lane]);
    }
    for (const name of new Set([...before.keys(), ...this.#former.keys()])) {
      if (before.get(name)?.join() !== this.#former.get(name)?.join())
        this.#options.changed(name, this.#former.has(name));
      this.#options.wake(name);
    }
  }

  /** Finds the oldest entry of a resource in a lane. */
  async #ask(lane: string, destination: string, url: string): Promise<void> {
    const resource = resourceOf(url);
    const name = `${lane} ${resource}`;
    const former = this.#lanes.get(lane);
    if (!former || this.#asking.has(name)) return;
    this.#asking.add(name);
    const { oldest, version } = former;
    const { store, log, wake } = this.#options;
    let pause = 0;
    try {
      let first = Number.POSITIVE_INFINITY;
      for await (const { seq } of store.waitingFor(lane, url)) first = Math.min(first, seq);
      // One that has left would be back after a crash, until the disk knows it.
      if (first === Number.POSITIVE_INFINITY && (await store.occupied(lane, url))) pause = LEAVING_MS;
      if (oldest.size >= RESOURCES) oldest.clear();
      // Where entries came or left meanwhile, the next look at the entry asks again.
      if (pause === 0 && former.version === version) oldest.set(resource, first);
    } catch (error) {
      pause = READ_AGAIN_MS;
      if (!this.#closed) log.error({ err: messageOf(error), lane }, 'a former lane cannot be read');
    } finally {
      this.#asking.delete(name);
    }
    if (this.#closed) return;
    if (pause > 0) setTimeout(() => !this.#closed && wake(destination), timerMs(pause)).unref();
    else wake(destination);
  }

  #save(): void {
    const { names, log } = this.#options;
    try {
      names.save([...this.#lost]);
    } catch (error) {
      log.error({ err: messageOf(error) }, 'the names of former lanes cannot be kept for the next start');
    }
  }
}

const changed = (former: Former): void => {
  former.version += 1;
  former.oldest.clear();
};
