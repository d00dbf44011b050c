// When entries of one destination are sent, and how many at once. Which of them may be sent is the ledger's, how one is sent sender.ts's,
// what an answer means outcome.ts's, and what follows from it settle-attempt.ts's.

import { setTimeout as sleep } from 'node:timers/promises';
import { timerMs } from '../platform/timer.ts';
import type { Destination } from '../policy/policy.ts';
import type { Entry } from '../store/store.ts';
import { LaybyError } from '../telemetry/error.ts';
import { storedBody } from './deliver/body.ts';
import type { Result } from './deliver/deliver.ts';
import type { Goodput } from './deliver/goodput.ts';
import type { Candidate, DeliveryLedger, Lease } from './delivery-ledger.ts';
import type { Follower, Growing, UnderWay } from './follow.ts';
import { Followers } from './followers.ts';
import { GIVE_UP_AFTER_MS } from './give-up.ts';
import { LaneLister } from './lane-lister.ts';
import { LinkPause } from './link-pause.ts';
import type { ReplayOptions } from './options.ts';
import { Refusals } from './refusals.ts';
import { RetryBudget } from './retry-budget.ts';
import { type AttemptResult, Sender } from './sender.ts';
import { type Settled, settleAttempt } from './settle-attempt.ts';
import { nextSlowAnswer, slowAnswers } from './slow-answers.ts';
import { isStalled, STALLED_MS } from './stalled.ts';
import type { WayOut } from './way-out.ts';
import type { LaneView, LinkWord } from './why.ts';

/** Entries in flight at once, where the policy does not say how many; and of small ones, since a link would be idle while each waits for
 *  its answer: so many, as long as they are together no more than a fast link takes in one round trip. */
const AT_ONCE = 4;
const SMALL_AT_ONCE = { entries: 64, bytes: 1024 * 1024 };
/** While the kernel says that there is no way out, one entry is tried so often, ms: the kernel may be wrong. */
const HINT_PROBE_MS = 15_000;
/** An outcome that the store could not take is tried again after so long, ms. */
const UNRECORDED_MS = 1_000;
/** An entry that was read and may not be sent yet is looked at again after so long, ms. */
const NOT_ITS_TURN_MS = 250;

/** The entry cannot be sent any more: it is quarantined, or a rule took it in the moment before. */
const GONE: ReadonlySet<string> = new Set(['LAYBY_ENTRY_DAMAGED', 'LAYBY_ENTRY_UNKNOWN']);

const credentialsOf = ({ upstream, headers, rules }: Destination): string =>
  JSON.stringify([upstream, headers, rules]);

export interface LaneSchedulerOptions extends ReplayOptions {
  wayOut: WayOut;
  destinations: () => readonly Destination[];
  /** The delivery of an id has ended. */
  onAttemptEnded: (id: string) => void;
}

export class LaneScheduler {
  readonly name: string;
  #destination: Destination;
  readonly #options: LaneSchedulerOptions;
  readonly #ledger: DeliveryLedger;
  readonly #lister: LaneLister;
  readonly #pause = new LinkPause();
  readonly #budget = new RetryBudget();
  readonly #refusals = new Refusals();
  #link: LinkWord = { up: true, by: 'default', since: 0 };
  /** ms of performance.now(). */
  readonly #linkTimes = { down: Number.POSITIVE_INFINITY, up: 0 };
  #lastAttempt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  /** A second look at what was in flight when the link came back. */
  #second: NodeJS.Timeout | undefined;
  readonly #sender: Sender;
  #stopping = false;
  readonly #running = new Set<Promise<void>>();
  /** Of deliveries that this scheduler began: another one may have the same ledger. */
  readonly #leases = new Set<Lease>();
  /** Bodies that are still on their way into the store. */
  readonly #followers: Followers;

  constructor(destination: Destination, options: LaneSchedulerOptions) {
    this.name = destination.name;
    this.#options = options;
    this.#destination = destination;
    this.#ledger = options.ledgers.of(destination.name);
    this.#lister = new LaneLister({
      ...{ destination: this.name, store: options.store, ledger: this.#ledger, log: options.log },
      listed: () => this.wake(),
    });
    this.#sender = new Sender({ ...options, destination: () => this.#destination });
    this.#followers = new Followers({
      ...{ sender: this.#sender, ledger: this.#ledger, running: this.#running, leases: this.#leases },
      isOpen: () => this.#link.up && !this.#stopping && this.#pause.notBefore <= performance.now(),
      lost: (id, result) => this.#lost(id, result),
      reached: () => this.#reached(),
      pauseMax: () => this.#destination.replay.retry.max,
      ended: (id) => {
        this.#options.onAttemptEnded(id);
        this.wake();
      },
    });
    this.policy(destination);
  }

  policy(destination: Destination): void {
    if (credentialsOf(destination) !== credentialsOf(this.#destination))
      for (const id of this.#refusals.credentialsChanged()) this.#ledger.hurry(id);
    this.#destination = destination;
    this.recheck();
  }

  link(link: LinkWord): void {
    const was = this.#link.up;
    this.#link = link;
    if (was && !link.up) this.#linkTimes.down = performance.now();
    if (was || !link.up) return;
    this.#linkTimes.up = performance.now();
    this.#options.egress.linkBack(this.name);
    this.#restart();
    this.hurry();
    // A request that began shortly before, while nothing said that it would be in vain.
    clearTimeout(this.#second);
    this.#second = setTimeout(() => this.#restart(), STALLED_MS);
  }

  /** Every pause is over. */
  hurry(): void {
    this.#pause.end();
    this.#budget.hurry();
    this.#ledger.wake();
    this.#followers.wake();
    this.wake();
  }

  /** Cuts the attempts that the lost link has left hanging. They begin again at once, where they were. */
  #restart(): void {
    const now = performance.now();
    for (const lease of this.#leases) {
      if (!isStalled({ began: lease.began, moved: lease.movedAt }, this.#linkTimes, now)) continue;
      lease.restarted = true;
      lease.end.abort();
    }
  }

  /** An operator wants this entry sent over whatever link there is, without its pause and its destination's. */
  sendNow(id: string): void {
    this.#ledger.hurry(id);
    this.#pause.end();
    this.wake();
  }

  /** What the way to the destination has carried lately. */
  get goodput(): Goodput {
    return this.#sender.goodput;
  }

  /** Link, clock or policy have changed: what could not be sent may be sent now, and what is being sent may not any more. */
  recheck(): void {
    this.#sender.recheck();
    this.wake();
  }

  #woken = false;

  /** Looks again what may be sent, in this turn of the event loop, once. */
  wake(): void {
    if (this.#woken || this.#stopping) return;
    this.#woken = true;
    queueMicrotask(() => {
      this.#woken = false;
      this.#pump();
    });
  }

  /** Starts what may start, and sets the timer for what may start later. */
  #pump(): void {
    clearTimeout(this.#timer);
    if (this.#stopping) return;
    const now = performance.now();
    this.#lister.look(now);
    if (!this.#link.up && this.#link.by === 'override') return;
    const pausedUntil = Math.max(
      this.#pause.notBefore,
      this.#link.up ? 0 : this.#lastAttempt + HINT_PROBE_MS,
    );
    if (pausedUntil > now) {
      const isIdle = this.#ledger.isEmpty && this.#followers.empty;
      this.#later(Math.min(isIdle ? Number.POSITIVE_INFINITY : pausedUntil, this.#lister.dueAt), now);
      return;
    }
    const blockedUntil = this.#start(now);
    if (this.#link.up) this.#followers.look(now, this.#isPoor && this.#ledger.inFlight.entries > 0);
    const next = Math.min(
      this.#ledger.nextAt(now) ?? Number.POSITIVE_INFINITY,
      ...[blockedUntil, this.#followers.dueAt(now), this.#lister.dueAt],
      this.#isLimited ? Number.POSITIVE_INFINITY : nextSlowAnswer(this.#leases, now),
    );
    this.#later(next, now);
  }

  #later(at: number, now: number): void {
    if (Number.isFinite(at)) this.#timer = setTimeout(() => this.#pump(), timerMs(Math.max(1, at - now)));
  }

  /** Begins what may begin. Returns when the retry budget lets more begin, ms; Infinity: time alone does not. */
  #start(now: number): number {
    let blockedUntil = Number.POSITIVE_INFINITY;
    if (this.#room(now) <= 0) return blockedUntil;
    for (const candidate of this.#inTurn(now)) {
      const room = this.#room(now);
      if (room <= 0) break;
      if (!this.#isAllowed(candidate)) continue;
      if (candidate.entry && !this.#options.maySend(candidate.entry)) continue;
      const isRetry = this.#isRetry(candidate);
      if (!this.#options.hurried.has(candidate.id) && !this.#budget.mayTry(isRetry, now)) {
        const at = this.#budget.at(isRetry);
        if (at > now) blockedUntil = Math.min(blockedUntil, at);
      } else if (candidate.bytes <= room) this.#begin(candidate, isRetry, now);
    }
    return blockedUntil;
  }

  /** What may be sent, the oldest first; before it, where a single refused entry is to find out whether it is taken now, the one that was
   *  refused least. */
  #inTurn(now: number): Candidate[] {
    const all = [...this.#ledger.candidates(now)];
    if (!this.#budget.isProbing) return all;
    const least = all
      .filter((one) => this.#isRetry(one))
      .sort((a, b) => a.refusals - b.refusals || a.seq - b.seq)[0];
    return least ? [least, ...all.filter((one) => one !== least)] : all;
  }

  #isRetry = ({ refusals }: Candidate): boolean => refusals > 0;

  /** Whether the policy lets it go over this link, or an operator forced it. */
  #isAllowed = ({ id, bytes }: Candidate): boolean =>
    this.#options.hurried.has(id) || this.#sender.forbidden(bytes) === undefined;

  #begin(candidate: Candidate, isRetry: boolean, now: number): void {
    this.#lastAttempt = now;
    const lease = this.#ledger.grant(candidate, now);
    const asking = { isRetry, began: now };
    this.#budget.began(asking);
    this.#run(
      this.#attempt(lease, candidate, async () => {
        const entry = candidate.entry ?? (await this.#options.store.get(candidate.id));
        if (!entry) throw new LaybyError('LAYBY_ENTRY_UNKNOWN', `Entry ${candidate.id} is not in the store`);
        // It was not known before whose turn it is, and others may have used the budget while it was read.
        if (!candidate.entry && !(this.#isAllowed(candidate) && this.#options.maySend(entry)))
          return undefined;
        lease.tried = entry.attempts > 0;
        const result = await this.#sender.send(entry, storedBody(this.#options.store, entry), lease);
        return { entry, result };
      }).finally(() => this.#budget.ended(asking)),
    );
  }

  #run(attempt: Promise<void>): void {
    const running = attempt.finally(() => {
      this.#running.delete(running);
      this.wake();
    });
    this.#running.add(running);
  }

  /** While nothing gets through, one entry is enough to find out. */
  get #concurrency(): number {
    return this.#isPoor ? 1 : this.#budget.concurrency(this.#destination.replay.concurrency ?? AT_ONCE);
  }

  /** The most bytes that one more entry may have; 0: none may go. `now`: ms. */
  #room(now: number): number {
    const { bytes } = this.#ledger.inFlight;
    const entries = this.#underWay(now);
    if (entries < this.#concurrency) return Number.POSITIVE_INFINITY;
    if (this.#isPoor || this.#isLimited) return 0;
    return entries < this.#budget.concurrency(SMALL_AT_ONCE.entries) ? SMALL_AT_ONCE.bytes - bytes : 0;
  }

  /** Deliveries that others wait for, `now`: ms. */
  #underWay(now: number): number {
    const { entries } = this.#ledger.inFlight;
    return this.#isLimited ? entries : entries - slowAnswers(this.#leases, now);
  }

  /** The policy says how many may be in flight. */
  get #isLimited(): boolean {
    return this.#destination.replay.concurrency !== undefined;
  }

  get #isPoor(): boolean {
    return this.#pause.failures > 0 || !this.#link.up || this.#link.slow === true;
  }

  /** The destination took a request that is no entry. */
  tookOther(): void {
    for (const id of this.#refusals.delivered(undefined, performance.now())) this.#ledger.hurry(id);
  }

  /** What an entry of this lane waits for. */
  view(entry: Entry): LaneView {
    const now = performance.now();
    const { id, orderKey, bytes } = entry;
    const words = !this.#ledger.gate.maySend(orderKey)
      ? 'a request with the same order key, whose app waits for the answer, is under way before it'
      : this.#options.hurried.has(id)
        ? undefined
        : this.#sender.forbidden(bytes);
    const place = this.#ledger.place(id);
    const { rate } = this.#destination.replay;
    const linkRate = this.#options.wayOut.links.of(this.#options.nature().kind)?.rate;
    return {
      link: this.#link,
      probeIn: Math.max(0, this.#lastAttempt + HINT_PROBE_MS - now),
      pause: {
        ms: Math.max(0, this.#pause.notBefore - now),
        after: this.#pause.reason,
        failures: this.#pause.failures,
      },
      underWay: this.#underWay(now),
      concurrency: this.#concurrency,
      giveUpAfter: this.#destination.replay.retry.giveUpAfter ?? GIVE_UP_AFTER_MS,
      ...(rate !== undefined && { rate }),
      ...(linkRate !== undefined && { linkRate }),
      ...(words !== undefined && { forbidden: words }),
      ...(place && {
        place: {
          pauseMs: Math.max(0, place.notBefore - now),
          ...(place.olderId !== undefined && { olderId: place.olderId }),
          ...(place.refusals > 0 &&
            !this.#budget.mayTry(true, now) && { retryIn: Math.max(0, this.#budget.at(true) - now) }),
        },
      }),
    };
  }

  /** An upload that is in flight, of an entry whose lease the caller holds. Resolves when the entry has left, or waits again. */
  async adopt(entry: Entry, upload: UnderWay, lease: Lease): Promise<void> {
    this.#ledger.becomes(lease, entry);
    lease.end.signal.addEventListener('abort', upload.abort);
    // Nobody sees whether it moves.
    if (!upload.lease) lease.movedAt = Number.POSITIVE_INFINITY;
    const attempt = this.#attempt(lease, { refusals: 0 }, async () => ({
      entry,
      result: await this.#sender.watch(entry, upload, lease),
    }));
    this.#run(attempt);
    await attempt;
  }

  /** Sends a body as it grows, whenever link and policy let it. */
  follow(growing: Growing): Follower {
    const follower = this.#followers.add(growing);
    this.wake();
    return follower;
  }

  async #attempt(
    lease: Lease,
    { refusals }: Pick<Candidate, 'refusals'>,
    send: () => Promise<{ entry: Entry; result: AttemptResult } | undefined>,
  ): Promise<void> {
    const { store, onLeft, onAttemptEnded, log } = this.#options;
    const { id, began } = lease;
    const isAborted = () => lease.end.signal.aborted;
    let returned: Settled = { notBefore: 0 };
    this.#leases.add(lease);
    try {
      const sent = await send();
      if (!sent) returned = { notBefore: performance.now() + NOT_ITS_TURN_MS };
      else if (sent.result.kind === 'interrupted')
        // The destination is not to blame, but it may have heard of the entry.
        returned = { notBefore: 0, entry: await store.failed(id, sent.result.reason) };
      else if (!isAborted() || sent.result.kind !== 'no-link')
        returned = await settleAttempt(sent.entry, sent.result, {
          ...{ ...this.#options, destination: this.#destination, budget: this.#budget, pause: this.#pause },
          ...{ ledger: this.#ledger, refusals: this.#refusals, refused: refusals },
          asking: { isRetry: refusals > 0, began },
          lost: (lost) => this.#lost(id, lost),
        });
    } catch (error) {
      if (error instanceof LaybyError && GONE.has(error.code)) returned = 'left';
      else {
        // The store cannot record what happened: the entry stays, and is tried again.
        log.error({ err: error, id }, 'delivery attempt cannot be recorded');
        returned = { notBefore: performance.now() + UNRECORDED_MS };
      }
    } finally {
      this.#leases.delete(lease);
      if (returned === 'unrecorded') lease.unrecorded = true;
      else this.#ledger.release(lease, returned);
      onAttemptEnded(id);
      if (returned === 'left') onLeft(this.name);
    }
  }

  /** All of the destination pauses. */
  #lost(id: string, result: Result & { kind: 'no-link' }): void {
    const { log, onOutcome, count } = this.#options;
    const pause = this.#pause.lost(performance.now(), result, this.#destination.replay.retry.max);
    onOutcome(this.name, false);
    count(this.name, 'no_link', result.moved);
    log.info({ id, destination: this.name, why: result.words, pause }, 'not sent: no link');
  }

  #reached(): void {
    this.#pause.reached();
    this.#options.onOutcome(this.name, true);
  }

  /** Starts nothing more. What is in flight gets `graceMs` to end, and is cut then: it is sent again after the next start. */
  async stop(graceMs: number): Promise<void> {
    clearTimeout(this.#timer);
    clearTimeout(this.#second);
    this.#stopping = true;
    await Promise.race([
      Promise.allSettled(this.#running),
      sleep(timerMs(graceMs), undefined, { ref: false }),
    ]);
    for (const { end } of this.#leases) end.abort();
    await Promise.allSettled(this.#running);
  }
}
