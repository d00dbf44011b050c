// What the load client is asked for and what it writes down; read by load.ts, app.ts and the checker.

export interface LoadPlan {
  /** `http://HOST:PORT` that every connection goes to: the outbound listener, or the destination itself. */
  target: string;
  /** The Host header: the name that the app calls. The target's own where not given. */
  host?: string;
  requests: number;
  /** Requests under way at once. Those of one key are sent one after the other. */
  concurrency: number;
  /** So many keys (paths), taken in turn. */
  keys: number;
  /** Shortest and longest body, bytes. */
  bytes: readonly [number, number];
  seed: number;
  /** JSONL file. */
  out: string;
  /** Default PUT. */
  method?: string;
  /** In place of `method`: each request has one of these, as the seed decides. A DELETE has no body. */
  methods?: readonly string[];
  /** This share of the bodies is so long, shortest and longest in bytes; the others as `bytes` says. */
  large?: { share: number; bytes: readonly [number, number] };
  /** Paths are `PREFIX/KEY`; default `/load`. */
  prefix?: string;
  /** Sends bodies chunked, without a length. */
  chunked?: boolean;
  /** Sends an `Idempotency-Key` of its own; default true. */
  idempotent?: boolean;
  /** More headers, for every request. */
  headers?: Record<string, string>;
  /** Gives up a request after so long, ms; default 120,000. */
  timeout?: number;
  /** Rests so long after each answer, ms: a load that lasts. */
  pause?: number;
  /** The first request's number minus one: keeps two loads of one run apart. */
  from?: number;
}

/** The header that carries a request's number to the cloud. */
export const NUMBER = 'x-rig-request';

/** One request as its app saw it. */
export interface AppRecord {
  /** From 1; never twice in one run. */
  n: number;
  /** Requests of one key have an order. */
  key: string;
  method: string;
  /** Path and query. */
  path: string;
  /** Names and values in turn, as sent; framing is not in it. */
  headers: string[];
  /** Names and values in turn. */
  trailers: string[];
  /** Bytes of the body. */
  bytes: number;
  sha256: string;
  /** 0 where no answer came. */
  status: number;
  /** `Layby-Entry` of the answer: this was a receipt. */
  entryId: string | null;
  /** Wall clock, ms since the epoch with fractions: first byte asked for, last byte of the answer. */
  start: number;
  end: number;
  error: string | null;
}
