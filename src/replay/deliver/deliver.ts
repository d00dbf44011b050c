// The contract of a strategy: one try of one entry, through the egress listener, and what came of it. Which strategy
// an entry gets is for strategy.ts, when a try is due and what its result means for the lane is for replay.ts.

import type { RequestSender } from '../../egress/egress.ts';
import type { Destination } from '../../policy/policy.ts';
import type { EntryHead, KeptAnswer, Store } from '../../store/store.ts';
import type { Outcome } from '../outcome.ts';
import type { Body } from './body.ts';
import type { Goodput } from './goodput.ts';
import type { EtagMemory } from './s3/etag-memory.ts';

/** Asked before each piece of a body leaves. */
export interface Pace {
  /** The longest piece that may be asked for, bytes. */
  readonly piece: number;
  /** Resolves when so many bytes may go, undefined: at once. Rejects when the signal is aborted. */
  take(bytes: number, signal: AbortSignal): Promise<void> | undefined;
}

export interface Try {
  /** What is noted of the delivery is kept here. */
  store: Pick<Store, 'progress' | 'setProgress'>;
  egress: RequestSender;
  destination: Destination;
  /** Every destination of the policy: S3 may name another one of them. */
  destinations: readonly Destination[];
  entry: EntryHead;
  body: Body;
  /** One before it failed: the destination may have heard of it. */
  tried?: boolean;
  /** An app waits for the answer: give up in seconds. */
  impatient?: boolean;
  /** A refusal came before: a large body leaves only after `100 Continue`. */
  expect?: boolean;
  /** Whether the ETags of this destination are MD5s; left out where nothing is remembered. */
  etags?: EtagMemory;
  pace: Pace;
  /** What the way to this destination has carried lately. */
  goodput: Goodput;
  /** Aborted where the program stops, or the entry has left. */
  signal: AbortSignal;
}

export type Result =
  /** The destination answered. `moved`: body bytes that it has for good, in this try. */
  | {
      kind: 'answered';
      outcome: Outcome;
      status: number;
      words: string;
      retryAfter?: number | undefined;
      moved?: number;
      /** For an operator, or for the app where one still waits. */
      answer?: KeptAnswer;
    }
  /** It was not reached, or was lost on the way. `moved`: body bytes that were taken before that. `suspicious`: there was an answer that
   *  the destination has probably not given (portal.ts); how often that may happen is for suspicious.ts. */
  | {
      kind: 'no-link';
      words: string;
      moved: number;
      suspicious?: { status: number; answer: KeptAnswer };
    };

/** Rejects only with what the store and the body say: LAYBY_ENTRY_DAMAGED, LAYBY_ENTRY_UNKNOWN, LAYBY_STORE_FAILED, LAYBY_STORE_FULL. */
export type Strategy = (attempt: Try) => Promise<Result>;
