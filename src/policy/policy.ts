// What the rest of Layby sees of the policy: checked, defaults filled in, units resolved. src/policy/schema.ts is the
// source of the operator's document, src/policy/parse.ts turns one into the other.

export type StoreMode = 'never' | 'failover' | 'always';
export type ReceiptKind = 'redirect' | 'accepted' | 's3' | 'auto';
export type Order = 'none' | 'key' | 'strict';

/** From the lowest to the highest: the first to be evicted stands first, and weighs least in replay. */
export const CLASSES = ['bulk', 'normal', 'urgent', 'evidence'] as const;
export type Class = (typeof CLASSES)[number];

/** Kinds of links; `lte` is any mobile network. */
export const LINK_KINDS = ['wired', 'wifi', 'lte', 'other'] as const;
export type LinkKind = (typeof LINK_KINDS)[number];

/** How a body of unknown length is cut into entries. */
export interface Segmenting {
  /** The most that one holds. */
  bytes: number;
  /** One that is open for so long is closed, ms. */
  time: number;
  /** Of its path: `{path}` is the app's, `{n}` a number of six digits from 0. */
  name: string;
}

export interface Destination {
  name: string;
  /** Lower case, without port: `dashcam.example`, or `*.example` for any name below it. */
  hosts: string[];
  upstream: {
    /** http or https, no query, no fragment; a path is put before the app's path. Always without a trailing slash. */
    url: string;
    sign?: { aws: { service: string; region: string } };
  };
  store: {
    mode: StoreMode;
    /** Upper case. Requests with other methods are never stored. */
    methods: string[];
    receipt: ReceiptKind;
    order: Order;
    /** Whether reads are answered with what waits. */
    reads: 'stored' | 'never';
    class: Class;
    /** After so long the app does not wait for the answer any more, ms; undefined: as long as it takes. */
    patience?: number;
    stream?: { segment: Segmenting };
    /** ms */
    ttl?: number;
    /** bytes */
    quota?: number;
    whenFull: 'refuse' | 'evict';
  };
  replay: {
    /** Entries under way at once. */
    concurrency: number;
    /** bytes per second */
    rate?: number;
    /** The kinds of links that stored requests may go over; undefined: any. */
    links?: LinkKind[];
    /** Default: allow. */
    metered?: 'allow' | 'deny';
    roaming?: 'allow' | 'deny';
    /** Bytes that replay may have sent over this kind of link, in all, up to which this destination goes on. */
    budget?: Partial<Record<LinkKind, { daily?: number; monthly?: number }>>;
    /** Of large POSTs to others than S3. */
    resume: 'none' | 'tus';
    /** `max`: the longest pause between two tries, ms. */
    retry: { max: number };
  };
}

export interface Policy {
  /** SHA-256 over the content, so equal policies have equal versions. */
  version: string;
  /** Sorted by name. */
  destinations: Destination[];
}
