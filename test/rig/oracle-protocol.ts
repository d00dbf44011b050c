// What the oracle's server and its driver say to each other: records, rules for its answers, and the lines between them.

/** How one request is answered. Everything is optional: the default is 200 and an empty body, once the request is whole. */
export interface Answer {
  /** Default 200. */
  status?: number;
  /** Of the answer: `{'retry-after': '1'}`. */
  headers?: Record<string, string>;
  body?: string;
  /** Waits so long before it answers, ms. */
  delay?: number;
  /** Answers when so many bytes of the body were read, not waiting for the rest (which is still read and recorded). */
  after?: number;
  /** Reads everything and never answers. */
  never?: boolean;
  /** Reads so many bytes of the body and then no more until the next reset, not even that the client went away. */
  stall?: number;
  /** Reads so many bytes of the body, then resets the connection. */
  cut?: number;
}

/** An answer for the requests that it matches, the latest rule first. */
export interface Rule extends Answer {
  method?: string;
  /** The path begins so. */
  path?: string;
  /** For so many requests, then it is used up. */
  times?: number;
}

/** A request's own wish: this header holds an Answer as JSON. A wish is honoured before any rule. */
export const WISH = 'x-oracle-answer';

/** One request that arrived. */
export interface Arrival {
  /** From 1, in the order in which the heads of requests arrived. */
  n: number;
  /** Places in the one order of everything that happened at the oracle: when the head came, when the body had ended. */
  began: number;
  ended: number;
  /** Wall clock, ms since the epoch, when the head came and when the body had ended. */
  at: number;
  endedAt: number;
  method: string;
  /** Path and query, as on the wire. */
  path: string;
  /** Names and values in turn, as on the wire. */
  rawHeaders: string[];
  /** Names and values in turn. */
  rawTrailers: string[];
  /** Body, decoded from its chunks, bytes. */
  bytes: number;
  /** Of the body as far as it came, lower-case hex. */
  sha256: string;
  /** The connection ended before the body did. */
  torn: boolean;
  /** The status that it was given, or null where it was torn or never answered. */
  answer: number | null;
  /** The client's address and port: one value, one connection. */
  peer: string;
}

export type ToServer =
  | { cmd: 'answer'; id: number; rule: Rule }
  | { cmd: 'reset'; id: number }
  | { cmd: 'sync'; id: number };

export type FromServer =
  | { ready: { port: number; streamPort: number } }
  | { done: number }
  | { began: number; method: string; path: string }
  | { arrival: Arrival };
