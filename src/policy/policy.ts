// What the rest of Layby sees of the policy: checked, defaults filled in, units resolved. src/policy/schema.ts is the
// source of the operator's document, src/policy/parse.ts turns one into the other.

import type { Address } from '../wire/address.ts';
import type { ClusterService } from './cluster-service.ts';

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

/** Where requests go, and what part of them elsewhere. */
export interface Upstream {
  /** http or https, no query, no fragment; a path is put before the app's path. Always without a trailing slash. */
  url: string;
  /** Whose endpoints it has, by the port of its URL; undefined: what DNS says of its host. */
  service?: ClusterService;
  /** What clusters and the egress listener know it by; undefined: the name of the destination. */
  name?: string;
  sign?: { aws: { service: string; region: string } };
  /** What it speaks; default: http1. */
  protocol?: 'http1' | 'http2';
  /** Of one attempt to connect, ms. */
  connectTimeout?: number;
  /** The upstreams of a part of the requests, each whole; the rest go to `url`. */
  split?: { percent: number; to: Upstream }[];
  /** Copies of so many requests go there, and nobody waits for their answers. */
  mirror?: { url: string; percent: number; service?: ClusterService };
}

export interface HeaderEdit {
  /** Each replaces all of its name. */
  set: [name: string, value: string][];
  remove: string[];
}

export interface RateLimit {
  requests: number;
  /** ms */
  per: number;
  /** What may come at once. */
  burst: number;
}

/** What is done with requests, and may differ from one to another: see in-force.ts. */
export interface Treatment {
  upstream: Upstream;
  headers?: { request: HeaderEdit; response: HeaderEdit };
  /** From the end of a request to the end of its answer, ms; undefined: as long as it goes on. */
  answerTimeout?: number;
  /** Answers that do not count, and how often a request that is not stored is sent again for one. */
  retries?: { on: number[]; attempts: number };
  rateLimit?: RateLimit;
}

/** Which sidecars' apps. */
export interface Apps {
  /** By node id; any of these. */
  nodes?: string[];
  /** `name=value`; all of these. */
  labels?: string[];
}

/** Of a request's path, without its query, as the app wrote it. */
export type PathMatch = { prefix: string } | { exact: string } | { regex: string };

/** What is other for some requests of a destination. */
export interface Rule {
  match: { path?: PathMatch; methods?: string[]; apps?: Apps };
  changes: Partial<Treatment> & {
    store?: Partial<
      Pick<
        Destination['store'],
        'mode' | 'receipt' | 'reads' | 'listings' | 'unknown' | 'class' | 'patience' | 'ttl'
      >
    >;
  };
}

/** JSON merge patches (RFC 7396) onto what Envoy gets. */
export interface EnvoyPatches {
  cluster?: Record<string, unknown>;
  route?: Record<string, unknown>;
  virtualHost?: Record<string, unknown>;
}

/** Which answers to a stored request count as delivered. */
export interface Delivered {
  /** Sorted; undefined: 200 to 299. */
  status?: number[];
  /** The answer has all of these; names in lower case. `value`: exactly this. `regex`: the whole value, RE2. */
  headers?: { name: string; value?: string; regex?: string }[];
  /** Whether a page of HTML counts; undefined: from upstreams over https only. */
  html?: 'allow' | 'deny';
}

export interface Destination extends Treatment {
  name: string;
  /** Lower case, without port: `dashcam.example`, or `*.example` for any name below it. */
  hosts: string[];
  /** Bytes that the app encrypts itself may go to the upstream's host and port. Default: they may not. */
  tunnel?: 'allow';
  /** The first that matches a request is in force for it. */
  rules?: Rule[];
  envoy?: EnvoyPatches;
  store: {
    mode: StoreMode;
    /** Upper case. Requests with other methods are never stored. */
    methods: string[];
    receipt: ReceiptKind;
    order: Order;
    /** Whether reads are answered with what waits. */
    reads: 'stored' | 'never';
    /** What a listing of S3 gets while the bucket cannot be asked. `pending`: only what waits. */
    listings: 'unavailable' | 'pending';
    /** What an object of S3 is of which nothing waits, while the bucket cannot be asked. */
    unknown: 'unavailable' | 'absent';
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
    concurrency?: number;
    /** bytes per second */
    rate?: number;
    /** Of all destinations together over a kind of link, bytes per second. */
    linkRates?: Partial<Record<LinkKind, number>>;
    /** The kinds of links that stored requests may go over; undefined: any. */
    links?: LinkKind[];
    /** Default: allow. */
    metered?: 'allow' | 'deny';
    roaming?: 'allow' | 'deny';
    /** Bytes that replay may have sent over this kind of link, in all, up to which this destination goes on. */
    budget?: Partial<Record<LinkKind, { daily?: number; monthly?: number }>>;
    /** Of large bodies to others than S3. */
    resume: 'none' | 'tus' | 'ietf';
    /** Which answers count as delivered; undefined: the defaults of the kind of destination. */
    delivered?: Delivered;
    /** `max`: the longest pause between two tries, ms. `giveUpAfter`: how long an entry may be refused while others are taken, ms; see
     *  replay/give-up.ts. Absent in policies of earlier versions: an hour. */
    retry: { max: number; giveUpAfter?: number };
  };
}

/** An app that others call through the mesh, from sidecar to sidecar. Nothing of it is stored. */
export interface Service {
  name: string;
  /** As a destination's. */
  hosts: string[];
  /** Of the sidecar beside the app. */
  node: string;
  /** Where that sidecar takes calls, over TLS. */
  address: Address;
  /** Each pod behind this Service is one such app, with its sidecar at the port of `address`. */
  pods?: ClusterService;
  /** Where the app listens. */
  app: Address;
  /** What it speaks; default: http1. */
  protocol?: 'http2';
  /** Bytes may go to it by CONNECT. Default: they may not. */
  tunnel?: 'allow';
  /** Node ids or SPIFFE ids: who may call. */
  allow: string[];
}

export interface Policy {
  /** SHA-256 over the content, so equal policies have equal versions. */
  version: string;
  /** Sorted by name. */
  destinations: Destination[];
  /** Sorted by name; left out where there is none. */
  services?: Service[];
  /** Calls to hosts that nothing here names go to them. Default: they are refused. */
  passthrough?: 'allow' | undefined;
}
