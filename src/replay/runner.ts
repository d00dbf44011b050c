// The lane of one destination on its way out: what is tried, how many at once, and what follows from each result. What may go is the
// lane's, how it goes deliver's, what it means the outcome's.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Destination } from '../policy/policy.ts';
import type { Entry } from '../store/store.ts';
import { LaybyError } from '../telemetry/error.ts';
import { pauseMs } from './backoff.ts';
import { storedBody } from './deliver/body.ts';
import type { Result } from './deliver/deliver.ts';
import type { Goodput } from './deliver/goodput.ts';
import type { Follower, Growing, UnderWay } from './follow.ts';
import { Followers } from './followers.ts';
import { Lane } from './lane.ts';
import type { ReplayOptions } from './options.ts';
import { type AttemptResult, type OwnTry, Sender } from './sender.ts';
import { isStalled, STALLED_MS } from './stalled.ts';
import type { WayOut } from './way-out.ts';
import type { LaneView, LinkWord } from './why.ts';

/** A try that moved so many bytes (more than buffers on the way can hide) made progress: pauses start small again. */
const PROGRESS_BYTES = 1024 * 1024;
/** Entries under way at once, where the policy does not say how many; and of small ones, since a link would be idle while each waits for
 *  its answer: so many, as long as they are together no more than a fast link takes in one round trip. */
const AT_ONCE = 4;
const SMALL_AT_ONCE = { entries: 64, bytes: 1024 * 1024 };
/** While the kernel says that there is no way out, one entry is tried so often, ms: the kernel may be wrong. */
const HINT_PROBE_MS = 15_000;
/** The pause after a 401 or 403, ms: credentials get fixed by people. */
const UNAUTHORIZED_MS = 30_000;

/** The entry cannot be sent any more: it is quarantined, or a rule took it in the moment before. */
const GONE: ReadonlySet<string> = new Set(['LAYBY_ENTRY_DAMAGED', 'LAYBY_ENTRY_UNKNOWN']);

export interface RunnerOptions extends ReplayOptions {
  wayOut: WayOut;
  destinations: () => readonly Destination[];
  onTryEnded: (id: string) => void;
}

export class Runner {
  readonly name: string;
  #destination: Destination;
  #options: RunnerOptions;
  #lane = new Lane();
  #link: LinkWord = { up: true, by: 'default', since: 0 };
  /** ms of performance.now(). */
  readonly #linkTimes = { down: Number.POSITIVE_INFINITY, up: 0 };
  /** Failed tries in a row, for want of a link. */
  #failures = 0;
  #notBefore = 0;
  /** What the pause is for, in words. */
  #pausedAfter = '';
  #timer: NodeJS.Timeout | undefined;
  /** A second look at what was under way when the link came back. */
  #second: NodeJS.Timeout | undefined;
  #listing = false;
  #more = true;
  readonly #sender: Sender;
  #stopping = false;
  readonly #running = new Set<Promise<void>>();
  /** By id. */
  readonly #tries = new Map<string, OwnTry>();
  /** Bodies that are still on their way into the store. */
  readonly #followers: Followers;

  constructor(destination: Destination, options: RunnerOptions) {
    this.name = destination.name;
    this.#options = options;
    this.#destination = destination;
    this.#sender = new Sender({ ...options, destination: () => this.#destination });
    this.#followers = new Followers({
      ...{ sender: this.#sender, tries: this.#tries, running: this.#running },
      isOpen: () => this.#link.up && !this.#stopping && this.#notBefore <= performance.now(),
      lost: (id, result) => this.#lost(id, result),
      reached: () => this.#reached(),
      pauseMax: () => this.#destination.replay.retry.max,
      ended: (id) => {
        this.#options.onTryEnded(id);
        this.#pump();
      },
    });
    this.policy(destination);
  }

  policy(destination: Destination): void {
    this.#destination = destination;
    this.#sender.recheck();
    this.#pump();
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
    this.#failures = 0;
    this.#notBefore = 0;
    this.#lane.wake();
    this.#followers.wake();
    this.#pump();
  }

  /** Cuts the tries that the lost link has left hanging. They begin again at once, where they were. */
  #restart(): void {
    const now = performance.now();
    for (const own of this.#tries.values()) {
      if (!isStalled({ began: own.began, moved: own.movedAt }, this.#linkTimes, now)) continue;
      own.restarted = true;
      own.end.abort();
    }
  }

  /** Whether the policy lets it go over this link, or an operator said `now`; and what others say of it. */
  #mayGo = (entry: Entry): boolean =>
    this.#options.maySend(entry) &&
    (this.#options.hurried.has(entry.id) || this.#sender.forbidden(entry.bytes) === undefined);

  /** An operator wants this entry sent over whatever link there is, without its pause and its destination's. */
  sendNow(id: string): void {
    this.#lane.hurry(id);
    this.#notBefore = 0;
    this.#pump();
  }

  /** What the way to the destination has carried lately. */
  get goodput(): Goodput {
    return this.#sender.goodput;
  }

  stored(): void {
    this.#more = true;
    this.#pump();
  }

  rewind(): void {
    this.#lane.rewind();
    this.stored();
  }

  /** What could not be sent may be sent now, and what is being sent may not any more. */
  wake(): void {
    this.#sender.recheck();
    this.#pump();
  }

  left(id: string): void {
    this.#options.hurried.delete(id);
    this.#lane.left(id);
    this.#tries.get(id)?.end.abort();
    this.#pump();
  }

  /** Starts what may start, and sets the timer for what may start later. */
  #pump(): void {
    clearTimeout(this.#timer);
    if (this.#stopping) return;
    if (this.#more && this.#lane.room > 0) void this.#list();
    const now = performance.now();
    if (!this.#link.up && this.#link.by === 'override') return;
    const pausedUntil = Math.max(this.#notBefore, this.#link.up ? 0 : this.#lastTry + HINT_PROBE_MS);
    if (pausedUntil > now) {
      if (!this.#lane.empty || !this.#followers.empty)
        this.#timer = setTimeout(() => this.#pump(), pausedUntil - now);
      return;
    }
    for (;;) {
      const room = this.#room();
      const entry = room > 0 && this.#lane.next(now, (entry) => entry.bytes <= room && this.#mayGo(entry));
      if (!entry) break;
      this.#lastTry = now;
      const running = this.#try(entry).finally(() => {
        this.#running.delete(running);
        this.#pump();
      });
      this.#running.add(running);
    }
    if (this.#link.up) this.#followers.look(now, this.#isPoor && this.#tries.size > 0);
    const nextAt = Math.min(
      this.#lane.nextAt(this.#mayGo) ?? Number.POSITIVE_INFINITY,
      this.#followers.dueAt(now),
    );
    if (Number.isFinite(nextAt) && nextAt > now) this.#timer = setTimeout(() => this.#pump(), nextAt - now);
  }

  #lastTry = Number.NEGATIVE_INFINITY;

  /** While nothing gets through, one entry is enough to find out. */
  get #concurrency(): number {
    return this.#isPoor ? 1 : (this.#destination.replay.concurrency ?? AT_ONCE);
  }

  /** The most bytes that one more entry may have; 0: none may go. */
  #room(): number {
    const { entries, bytes } = this.#lane.sending;
    if (entries < this.#concurrency) return Number.POSITIVE_INFINITY;
    const more = !this.#isPoor && this.#destination.replay.concurrency === undefined;
    return more && entries < SMALL_AT_ONCE.entries ? SMALL_AT_ONCE.bytes - bytes : 0;
  }

  get #isPoor(): boolean {
    return this.#failures > 0 || !this.#link.up || this.#link.slow === true;
  }

  /** What an entry of this lane waits for. */
  view(entry: Entry): LaneView {
    const now = performance.now();
    const words = !this.#options.maySend(entry)
      ? 'a request with the same order key, whose app waits for the answer, is under way before it'
      : this.#options.hurried.has(entry.id)
        ? undefined
        : this.#sender.forbidden(entry.bytes);
    const place = this.#lane.place(entry.id);
    const { rate } = this.#destination.replay;
    const linkRate = this.#options.wayOut.links.of(this.#options.nature().kind)?.rate;
    return {
      link: this.#link,
      probeIn: Math.max(0, this.#lastTry + HINT_PROBE_MS - now),
      pause: {
        ms: Math.max(0, this.#notBefore - now),
        after: this.#pausedAfter,
        failures: this.#failures,
      },
      underWay: this.#lane.sending.entries,
      concurrency: this.#concurrency,
      ...(rate !== undefined && { rate }),
      ...(linkRate !== undefined && { linkRate }),
      ...(words !== undefined && { forbidden: words }),
      ...(place && {
        place: { pauseMs: Math.max(0, place.notBefore - now), ...(place.older && { older: place.older }) },
      }),
    };
  }

  async #list(): Promise<void> {
    if (this.#listing) return;
    this.#listing = true;
    this.#more = false;
    try {
      const { room, seen } = this.#lane;
      let got = 0;
      for await (const entry of this.#options.store.list({
        destination: this.name,
        state: 'stored',
        after: seen,
        limit: room,
      })) {
        got += 1;
        if (!this.#lane.has(entry.id)) this.#lane.add(entry);
      }
      if (got === room) this.#more = true;
    } catch (error) {
      this.#more = true;
      this.#options.log.error({ err: error, destination: this.name }, 'the lane cannot be listed');
    } finally {
      this.#listing = false;
    }
    if (!this.#lane.empty) this.#pump();
  }

  /** An upload that is under way, of an entry that is marked as being sent. Resolves when it has left or waits again. */
  async adopt(entry: Entry, upload: UnderWay): Promise<void> {
    this.#lane.adopt(entry);
    const end = new AbortController();
    end.signal.addEventListener('abort', upload.abort);
    const { movedAt = () => Number.POSITIVE_INFINITY } = upload;
    const own = {
      end,
      began: performance.now(),
      get movedAt() {
        return movedAt();
      },
    };
    const running = this.#see(entry, own, () => this.#sender.watch(entry, upload, own)).finally(() => {
      this.#running.delete(running);
      this.#pump();
    });
    this.#running.add(running);
    await running;
  }

  #try(entry: Entry): Promise<void> {
    const { store } = this.#options;
    store.sending(entry.id, true);
    const began = performance.now();
    const own = { end: new AbortController(), began, movedAt: began, tried: entry.attempts > 0 };
    return this.#see(entry, own, () => this.#sender.send(entry, storedBody(store, entry), own));
  }

  /** Sends a body as it grows, whenever link and policy let it. */
  follow(growing: Growing): Follower {
    const follower = this.#followers.add(growing);
    this.#pump();
    return follower;
  }

  async #see(entry: Entry, own: OwnTry, send: () => Promise<AttemptResult>): Promise<void> {
    const { store, log } = this.#options;
    this.#tries.set(entry.id, own);
    try {
      const result = await send();
      if (result.kind === 'interrupted') {
        // The destination is not to blame, but it may have heard of the entry.
        this.#lane.stays((await store.failed(entry.id, result.reason)) ?? entry, 0);
        return;
      }
      if (own.end.signal.aborted && result.kind === 'no-link') {
        if (own.restarted) this.#lane.stays(entry, 0);
        return;
      }
      await this.#settle(entry, result);
    } catch (error) {
      const gone = error instanceof LaybyError && GONE.has(error.code);
      if (gone) {
        this.#lane.left(entry.id);
        this.#options.onLeft(this.name);
      } else {
        // The store cannot note what happened: the entry stays, and is tried again.
        log.error({ err: error, id: entry.id }, 'a try could not be noted');
        this.#lane.stays(entry, performance.now() + 1_000);
      }
    } finally {
      store.sending(entry.id, false);
      this.#tries.delete(entry.id);
      this.#options.onTryEnded(entry.id);
    }
  }

  isTrying(id: string): boolean {
    return this.#tries.has(id);
  }

  /** All of the destination pauses. */
  #lost(id: string, { moved, words }: Result & { kind: 'no-link' }): void {
    const { log, onOutcome, count } = this.#options;
    const now = performance.now();
    const progressed = moved >= PROGRESS_BYTES;
    // Of many that were under way the first counts: it is one loss.
    if (progressed || now >= this.#notBefore) {
      this.#failures = progressed ? 1 : this.#failures + 1;
      this.#notBefore = now + pauseMs(this.#failures, this.#destination.replay.retry.max);
      this.#pausedAfter = words;
    }
    const pause = Math.round(this.#notBefore - now);
    onOutcome(this.name, false);
    count(this.name, 'no_link', moved);
    log.info({ id, destination: this.name, why: words, pause }, 'not sent: no link');
  }

  #reached(): void {
    this.#failures = 0;
    this.#options.onOutcome(this.name, true);
  }

  async #settle(entry: Entry, result: Result): Promise<void> {
    const { store, log, onLeft, count } = this.#options;
    const { max } = this.#destination.replay.retry;
    if (result.kind === 'no-link') {
      this.#lost(entry.id, result);
      this.#lane.stays((await store.failed(entry.id, result.words)) ?? entry, 0);
      return;
    }
    this.#reached();
    count(this.name, result.outcome, entry.bytes);
    const said = `${result.status}${result.words ? `: ${result.words}` : ''}`;
    switch (result.outcome) {
      case 'delivered':
        this.#options.hurried.delete(entry.id);
        await store.delivered(
          entry.id,
          entry.attempts === 0 ? `${result.status}` : `${result.status} on try ${entry.attempts + 1}`,
        );
        this.#lane.left(entry.id);
        onLeft(this.name);
        return;
      case 'dead':
        log.warn(
          { id: entry.id, destination: this.name, status: result.status },
          'refused: now a dead letter',
        );
        this.#options.hurried.delete(entry.id);
        await store.dead(entry.id, said, result.answer);
        this.#lane.left(entry.id);
        onLeft(this.name);
        return;
      case 'retry':
      case 'unauthorized': {
        const again = (await store.failed(entry.id, said)) ?? entry;
        const progressed = (result.moved ?? 0) >= PROGRESS_BYTES;
        const pause =
          result.outcome === 'unauthorized'
            ? UNAUTHORIZED_MS
            : Math.max(result.retryAfter ?? 0, pauseMs(this.#lane.streak(entry.id, progressed), max));
        if (result.retryAfter !== undefined) {
          this.#notBefore = Math.max(this.#notBefore, performance.now() + result.retryAfter);
          this.#pausedAfter = `${said} (Retry-After)`;
        }
        log[result.outcome === 'unauthorized' ? 'error' : 'info'](
          { id: entry.id, destination: this.name, status: result.status, pause },
          result.outcome === 'unauthorized' ? 'refused: are the credentials right?' : 'not taken yet',
        );
        this.#lane.stays(again, performance.now() + pause);
      }
    }
  }

  /** Starts nothing more. What is under way gets `graceMs` to end, and is cut then: it is sent again after the next start. */
  async stop(graceMs: number): Promise<void> {
    clearTimeout(this.#timer);
    clearTimeout(this.#second);
    this.#stopping = true;
    await Promise.race([Promise.allSettled(this.#running), sleep(graceMs, undefined, { ref: false })]);
    for (const { end } of this.#tries.values()) end.abort();
    await Promise.allSettled(this.#running);
  }
}
