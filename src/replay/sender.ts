// Attempts on the way to one destination: at the pace of their class and rates, counted for the budget of the link, and only as long as
// the policy allows them over this link. When an attempt is due, and what follows from it, is the lane scheduler's.

import type { Egress, RequestSender } from '../egress/egress.ts';
import { reconnecting } from '../egress/reconnect.ts';
import { forEntry } from '../policy/in-force.ts';
import type { Destination } from '../policy/policy.ts';
import type { Entry, EntryHead, Store } from '../store/store.ts';
import type { Logger } from '../telemetry/log.ts';
import { forbidden, type LinkNature } from './allowed.ts';
import { AskFirst } from './ask-first.ts';
import type { Budget, Reservation } from './budget.ts';
import type { Body } from './deliver/body.ts';
import { deliver } from './deliver/choose.ts';
import type { Pace, Result } from './deliver/deliver.ts';
import { Goodput } from './deliver/goodput.ts';
import { EtagMemory } from './deliver/s3/etag-memory.ts';
import type { Lease } from './delivery-ledger.ts';
import type { UnderWay } from './follow.ts';
import type { Hurried } from './hurried.ts';
import { TokenBucket } from './token-bucket.ts';
import type { WayOut } from './way-out.ts';

/** Uploads that another part sends are looked at so often, ms. */
const WATCH_EVERY_MS = 1_000;

/** Why an attempt was aborted: the policy no longer allows it over the link. The message is the reason. */
export class AttemptInterrupted extends Error {}

/** What came of an attempt.
 *
 *  `interrupted`: the policy stopped allowing it over the link. It says nothing of link or destination: no pause, no failure is counted,
 *  and the entry waits until it is allowed again. `moved`: body bytes that were taken before. */
export type AttemptResult = Result | { kind: 'interrupted'; reason: string; moved: number };

export interface SenderOptions {
  store: Store;
  egress: Egress;
  log: Logger;
  budget: Budget;
  hurried: Pick<Hurried, 'has'>;
  wayOut: WayOut;
  nature: () => LinkNature;
  destination: () => Destination;
  destinations: () => readonly Destination[];
  count: (destination: string, outcome: string, bytes: number) => void;
}

interface Attempt {
  id: string;
  end: AbortController;
  usage: Reservation;
  /** There is nothing left to send, as far as is known. */
  isSent: () => boolean;
  /** Counts what another part has sent since the last call. */
  catchUp?: () => void;
}

export class Sender {
  readonly goodput = new Goodput();
  readonly #askFirst = new AskFirst();
  readonly #etags = new EtagMemory();
  readonly #options: SenderOptions;
  /** In the order of their starts. */
  readonly #attempts = new Set<Attempt>();
  #bucket: TokenBucket | undefined;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  #ownBucket = (): TokenBucket | undefined => {
    const { rate } = this.#options.destination().replay;
    if (this.#bucket?.rate !== rate)
      this.#bucket = rate ? new TokenBucket(rate, performance.now()) : undefined;
    return this.#bucket;
  };

  /** Why so many bytes may not go over the link that there is, in words. `reserved`: by those bytes themselves. */
  forbidden(bytes: number, reserved = 0): string | undefined {
    const { nature, budget, destination } = this.#options;
    const link = nature();
    const used = link.kind === undefined ? { day: 0, month: 0 } : budget.used(link.kind);
    const others = { day: used.day - reserved, month: used.month - reserved };
    return forbidden(destination(), link, others, bytes);
  }

  /** The link, the policy or the clock has changed: interrupts the attempts that are no longer allowed. */
  recheck(): void {
    const { kind } = this.#options.nature();
    for (const attempt of this.#attempts) {
      attempt.catchUp?.();
      attempt.usage.switchTo(kind);
    }
    // The newest first: where the budget has room for some of them, the oldest go on.
    for (const attempt of [...this.#attempts].reverse()) this.#check(attempt);
  }

  /** `next`: bytes that are about to leave. */
  #check(attempt: Attempt, next = 0): void {
    const { nature, hurried, log, destination } = this.#options;
    const { id, end, usage } = attempt;
    usage.switchTo(nature().kind);
    if (end.signal.aborted || hurried.has(id)) return;
    const bytes = Math.max(usage.remaining, next);
    // An answer costs nothing.
    if (bytes === 0 && attempt.isSent()) return;
    const reason = this.forbidden(bytes, usage.remaining);
    if (reason === undefined) return;
    log.info({ id, destination: destination().name, reason }, 'attempt interrupted');
    // At once, so that others may have it.
    usage.release();
    end.abort(new AttemptInterrupted(reason));
  }

  /** Rejects as `deliver` does. Resolves with `interrupted` where the policy stopped allowing it; `own` is aborted then. */
  send(head: EntryHead, body: Body, own: Lease): Promise<AttemptResult> {
    const { store, egress, budget, nature, wayOut, destination, destinations } = this.#options;
    const usage = budget.reserve(nature().kind, body.bytes);
    const isSent = () => body.whole && usage.remaining === 0;
    const attempt: Attempt = { id: head.id, end: own.end, usage, isSent };
    const paced = wayOut.pace(head.class, this.#ownBucket, (bytes) => {
      own.movedAt = performance.now();
      return usage.spend(bytes);
    });
    const pace: Pace = {
      get piece() {
        return paced.piece;
      },
      take: (bytes, signal) => {
        this.#check(attempt, bytes);
        signal.throwIfAborted();
        return paced.take(bytes, signal);
      },
    };
    const observed: RequestSender = {
      send: (to, of, content, options) =>
        egress.send(to, of, content, {
          ...options,
          onProgress: () => {
            own.movedAt = performance.now();
          },
        }),
    };
    const { signal } = own.end;
    const sent = reconnecting(
      observed,
      signal,
      (through) =>
        deliver({
          ...{ store, egress: through, entry: head, body, tried: own.tried ?? false, signal },
          ...{ destination: forEntry(destination(), head), destinations: destinations() },
          ...{ pace, goodput: this.goodput, etags: this.#etags, expect: this.#askFirst.isNeeded(head.id) },
        }),
      (result) => result.kind === 'no-link',
    ).then((result) => {
      this.#askFirst.ended(head.id, result);
      return result;
    });
    return this.#ending(attempt, sent).finally(() => paced.end());
  }

  /** An upload that was begun while its app waited, and is an entry's now: from here on the policy's rules of links hold for it. It is
   *  looked at once a second. `own` aborts it. */
  watch(entry: Entry, upload: UnderWay, own: Lease): Promise<AttemptResult> {
    const { sent } = upload;
    // What follows a body that grows is an attempt already.
    if (!sent) return upload.result;
    const { budget, nature } = this.#options;
    let counted = sent();
    const usage = budget.reserve(nature().kind, Math.max(0, entry.bytes - counted));
    const catchUp = (): void => {
      const bytes = sent();
      if (bytes > counted) void usage.spend(bytes - counted);
      counted = Math.max(counted, bytes);
    };
    const attempt = { id: entry.id, end: own.end, usage, isSent: () => usage.remaining === 0, catchUp };
    const timer = setInterval(() => {
      catchUp();
      this.#check(attempt);
    }, WATCH_EVERY_MS).unref();
    const ended = this.#ending(attempt, upload.result).finally(() => clearInterval(timer));
    this.#check(attempt);
    return ended;
  }

  async #ending(attempt: Attempt, sent: Promise<AttemptResult>): Promise<AttemptResult> {
    this.#attempts.add(attempt);
    try {
      const result = await sent;
      const { reason } = attempt.end.signal;
      if (result.kind !== 'no-link' || !(reason instanceof AttemptInterrupted)) return result;
      const { moved } = result;
      this.#options.count(this.#options.destination().name, 'interrupted', moved);
      return { kind: 'interrupted', reason: reason.message, moved };
    } finally {
      this.#attempts.delete(attempt);
      attempt.catchUp?.();
      attempt.usage.release();
    }
  }
}
