// Drains the lanes: one scheduler for each destination (lane-scheduler.ts), each with its own pauses, so that a dead destination never blocks
// another.

import { onNewConnection } from '../egress/reconnect.ts';
import { towards } from '../policy/in-force.ts';
import { CLASSES, type Destination, type Policy } from '../policy/policy.ts';
import type { Entry, EntryHead, StoreEvent, StoreEventKind } from '../store/store.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Body } from './deliver/body.ts';
import { deliver } from './deliver/choose.ts';
import type { Result } from './deliver/deliver.ts';
import { Goodput } from './deliver/goodput.ts';
import type { Lease } from './delivery-ledger.ts';
import { TAKEN_OUT } from './delivery-ledgers.ts';
import { type DrainReport, drain } from './drain.ts';
import type { Follower, Growing, UnderWay } from './follow.ts';
import { LaneScheduler, type LaneSchedulerOptions } from './lane-scheduler.ts';
import type { ReplayOptions } from './options.ts';
import { TakeBack } from './take-back.ts';
import { WayOut } from './way-out.ts';
import type { LaneView, LinkWord } from './why.ts';

/** An answer that is on its way at the stop is worth so much waiting, ms. */
const STOP_GRACE_MS = 500;
/** A budget that begins anew is noticed within so long, ms. */
const BUDGET_EVERY_MS = 60_000;

/** Of a body without a pace, bytes. */
const UNPACED_PIECE = 256 * 1024;

/** What an entry leaves a half of itself behind at the destination by. */
const GIVEN_UP: ReadonlySet<StoreEventKind> = new Set([...TAKEN_OUT, 'dead', 'edited', 'moved']);

export class Replay {
  #options: LaneSchedulerOptions;
  #takeBack: TakeBack;
  #schedulers = new Map<string, LaneScheduler>();
  #links = new Map<string, LinkWord>();
  /** Ids of bodies on their way in, of which something may have been sent. */
  readonly #growing = new Set<string>();
  #listener: (event: StoreEvent) => void;
  #policy: Policy | undefined;
  #started = false;
  #looking: NodeJS.Timeout | undefined;

  constructor(options: ReplayOptions) {
    this.#options = {
      ...options,
      wayOut: new WayOut(options.rate, () => options.nature().kind),
      destinations: () => this.#policy?.destinations ?? [],
      onAttemptEnded: (id) => this.#takeBack.tryEnded(id),
    };
    this.#takeBack = new TakeBack({
      ...options,
      destination: (name) => this.#policy?.destinations.find((one) => one.name === name),
      isRunning: (id) => this.#growing.has(id) || options.ledgers.isInFlight(id),
    });
    this.#listener = (event) => this.#event(event);
    options.store.on('event', this.#listener);
  }

  #event({ kind, id }: StoreEvent): void {
    if (GIVEN_UP.has(kind)) this.#takeBack.soon();
    if (TAKEN_OUT.has(kind)) this.#options.hurried.delete(id);
  }

  /** A destination that the policy no longer names keeps its entries, and sends none: bytes go only where the policy says. */
  policy(policy: Policy): void {
    this.#policy = policy;
    this.#options.wayOut.links.policy(policy.destinations, performance.now());
    if (!this.#started) return;
    const named = new Set(policy.destinations.map(({ name }) => name));
    for (const [name, scheduler] of this.#schedulers) {
      if (named.has(name)) continue;
      this.#schedulers.delete(name);
      void scheduler
        .stop(STOP_GRACE_MS)
        .catch((error) => this.#options.log.error({ err: messageOf(error) }, 'replay'));
    }
    for (const destination of policy.destinations) {
      const scheduler = this.#schedulers.get(destination.name);
      if (scheduler) {
        scheduler.policy(destination);
        continue;
      }
      const added = new LaneScheduler(destination, this.#options);
      this.#schedulers.set(destination.name, added);
      const link = this.#links.get(destination.name);
      if (link) added.link(link);
    }
  }

  /** Nothing is sent before: the links must be known first, an operator may have said no. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    const { hurried, store, log } = this.#options;
    hurried.prune(store).catch((error) => log.error({ err: messageOf(error) }, 'replay'));
    this.#looking = setInterval(() => this.look(), BUDGET_EVERY_MS).unref();
    if (this.#policy) this.policy(this.#policy);
    this.#takeBack.soon();
  }

  link(destination: string, link: LinkWord): void {
    this.#links.set(destination, link);
    this.#schedulers.get(destination)?.link(link);
    if (this.#started && link.up) this.#takeBack.soon();
  }

  /** More may be sent to it than before. */
  wake(destination: string): void {
    this.#schedulers.get(destination)?.wake();
  }

  /** The destination took a request that was not stored. */
  tookOther(destination: string): void {
    this.#schedulers.get(destination)?.tookOther();
  }

  /** Takes over an upload whose app does not wait for it any more, with the lease of its entry. Resolves when the entry has left, or
   *  waits for its next attempt. */
  async adopt(entry: Entry, upload: UnderWay, lease: Lease): Promise<void> {
    const scheduler = this.#schedulers.get(entry.destination);
    if (scheduler) return scheduler.adopt(entry, upload, lease);
    // Nothing is replayed for its destination now. When something is, it begins with this entry.
    const ledger = this.#options.ledgers.of(entry.destination);
    ledger.becomes(lease, entry);
    upload.abort();
    await upload.result;
    ledger.release(lease, { notBefore: 0 });
  }

  /** A body is on its way in: what is begun of it at the destination is left alone until the function is called. If it is no entry
   *  by then, it is taken back. */
  grows(id: string): () => void {
    this.#growing.add(id);
    return () => {
      this.#growing.delete(id);
      this.#takeBack.soon();
    };
  }

  /** Sends a body as it grows, until it is handed over or given up. undefined: nothing is replayed for its destination now. */
  follow(growing: Growing): Follower | undefined {
    return this.#schedulers.get(growing.head.destination)?.follow(growing);
  }

  /** One try of a body that is no entry, with no turn and no pace: its app waits for the answer. `moved`: called with the bytes of
   *  each piece that leaves. Rejects as `deliver` does. */
  async deliverNow(
    destination: Destination,
    head: EntryHead,
    body: Body,
    { signal, moved }: { signal: AbortSignal; moved: (bytes: number) => void },
  ): Promise<Result> {
    const { store, egress } = this.#options;
    // Its parts share a connection: one that nobody has used.
    const result = await deliver({
      ...{ store, egress: onNewConnection(egress), destination: towards(destination, head.id) },
      destinations: this.#policy?.destinations ?? [],
      ...{ entry: head, body, signal, impatient: true },
      goodput: this.#schedulers.get(destination.name)?.goodput ?? new Goodput(),
      pace: { piece: UNPACED_PIECE, take: (bytes) => void moved(bytes) },
    });
    const delivered = result.kind === 'answered' && result.outcome === 'delivered';
    if (delivered && (await store.progress(head.id))) await store.setProgress(head.id, undefined);
    return result;
  }

  /** Sends these as soon as the link and their order let them, whatever kind the link is of and whatever was used of it; also after a
   *  restart, once it has resolved. false: the policy names no such destination. */
  async hurry({ destination, id }: Entry): Promise<boolean> {
    const scheduler = this.#schedulers.get(destination);
    if (!scheduler) return false;
    await this.#options.hurried.add(id);
    scheduler.sendNow(id);
    return true;
  }

  /** The link is of another kind. */
  look(): void {
    for (const scheduler of this.#schedulers.values()) scheduler.recheck();
  }

  /** What an entry waits for; undefined where the policy names no such destination, or nothing is sent yet. */
  view(entry: Entry): LaneView | undefined {
    return this.#schedulers.get(entry.destination)?.view(entry);
  }

  /** Sends what can be sent within `ms`. */
  drain(ms: number): Promise<DrainReport> {
    const { store, destinations, wayOut } = this.#options;
    const wake = (): void => {
      for (const scheduler of this.#schedulers.values()) scheduler.hurry();
    };
    return drain({ store, destinations, wake, moved: () => wayOut.moved }, CLASSES, ms);
  }

  async stop(): Promise<void> {
    clearInterval(this.#looking);
    await Promise.all([...this.#schedulers.values()].map((scheduler) => scheduler.stop(STOP_GRACE_MS)));
    await this.#takeBack.stop();
  }
}
