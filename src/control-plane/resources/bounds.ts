// The numbers of the way of a request, each with its reason. Durations are in Envoy's notation.

import type { Upstream } from '../../policy/policy.ts';
import {
  DIRECT_CONNECT_MS,
  directConnectMs,
  REPLAY_CONNECT_MS,
  replayConnectMs,
} from '../../policy/upstream.ts';

/** ms, in Envoy's notation. */
export const seconds = (ms: number): string => `${ms / 1000}s`;

/** Envoy keeps a request body up to this size (bytes) so that it can send it again, to the queue. Larger bodies, and
 *  those of unknown length, go through the queue, which spools them. It is memory: one buffer for each request in flight. */
export const RETRY_BUFFER = 1024 * 1024;

/** The same of a body that is known to be longer: never enough to send it again, so no more than what comes while the queue is being
 *  connected (bytes). */
export const KEPT_OF_LONG = 64 * 1024;

/** What is read from a connection, and waits to be written to one, ahead of who takes it (bytes). By default it is 1 MiB: a body on its way
 *  through the queue passes four of them. */
export const READ_AHEAD = 256 * 1024;

/** What the kernel takes of a connection before the link does (bytes): of a narrow link more is minutes, in which a body seems to have left,
 *  and an urgent one cannot pass it. What is under way, up to what the link holds, is not counted. */
export const UNSENT = 128 * 1024;

/** How long a connection may take, and how long it may be silent. */
export interface Patience {
  /** An attempt to connect, TLS handshake included (ms). The kernel gives up on a peer that does not answer at all much sooner: `synMs`. */
  connectMs: number;
  /** A peer whose TCP does not answer for so long is not there (ms). Over a long round trip it answers the first SYN late. */
  synMs: number;
  /** TCP_USER_TIMEOUT (ms): sent bytes that nobody acknowledges for so long mean that the link is gone. Linux alone would wait for about
   *  15 minutes. It bounds the SYNs too, and decides in place of `keepalive_probes` when probes have failed. */
  ms: number;
  /** Seconds. While we only wait for an answer there are no bytes of ours to acknowledge: probes are. They cost 80 bytes
   *  each, so connections without a request must not live long (POOL_IDLE). */
  probes: { keepalive_time: number; keepalive_interval: number; keepalive_probes: number };
}

/** The direct path fails fast, since the queue is behind it: a lost link is seen within 4 s. A peer that answers within 2 s is none:
 *  the probe leaves after 2 s, and its answer has 2 s. The handshake of TLS takes up to three more round trips. */
export const DIRECT_PATIENCE: Patience = {
  connectMs: DIRECT_CONNECT_MS,
  synMs: 3_000,
  ms: 3_000,
  probes: { keepalive_time: 2, keepalive_interval: 2, keepalive_probes: 1 },
};

/** The egress path waits: TCP moves again by itself soon after a short blackhole, and then nothing is sent twice. SYNs leave after 0, 1
 *  and 3 s (since Linux 6.5 after each of the first five seconds, too): with more of them the pauses would grow, and a link that is
 *  back would be found late. */
export const EGRESS_PATIENCE: Patience = {
  connectMs: REPLAY_CONNECT_MS,
  synMs: 7_000,
  ms: 60_000,
  probes: { keepalive_time: 10, keepalive_interval: 3, keepalive_probes: 3 },
};

/** `connectTimeout` that is longer than the bounds of a silent peer says of the link that it is so slow: then they are as long. */
const longer = ({ synMs, ms }: Patience, upstream: Upstream): Partial<Patience> => {
  const connectMs = upstream.connectTimeout === undefined ? 0 : directConnectMs(upstream);
  return { synMs: Math.max(synMs, connectMs), ms: Math.max(ms, connectMs) };
};

/** On the direct path to an upstream. */
export const directPatience = (upstream: Upstream): Patience => ({
  ...DIRECT_PATIENCE,
  connectMs: directConnectMs(upstream),
  ...longer(DIRECT_PATIENCE, upstream),
});

/** On the egress path to an upstream. */
export const egressPatience = (upstream: Upstream): Patience => ({
  ...EGRESS_PATIENCE,
  connectMs: replayConnectMs(upstream),
  ...longer(EGRESS_PATIENCE, upstream),
});

/** How often Linux sends a SYN again before `ms` are over: it waits 1 s, and twice as long after each. */
export const synRetries = (ms: number): number => Math.max(1, Math.ceil(Math.log2(ms / 1000 + 1)) - 1);

/** Before a request is sent again for an answer that does not count; long enough for an ejection to be known everywhere. */
export const RETRY_PAUSE = { base_interval: '0.1s', max_interval: '1s' };

/** How long a failed destination is left alone before Envoy tries it again by itself, when nobody holds it. */
export const EJECTION = '2s';

/** A request on which nothing moves for so long has ended. It is long, since silence alone is no lost link: a peer that acknowledges probes
 *  may be slow, and a request that was given up would begin a second time while the first one still waits. */
export const STREAM_IDLE = '3600s';

/** The head of a request has this long to arrive whole: it is small, and comes from the same machine. Bodies may take hours. */
export const HEAD_PATIENCE = '15s';

/** What a head may have: KiB, and fields. */
export const HEAD = { kib: 60, fields: 100 };

/** On the egress listener: the queue adds fields of its own to what an app sent, and that must not make a stored request one
 *  that is refused for ever. */
export const EGRESS_HEAD = { kib: 64, fields: 120 };

/** Requests at once on one HTTP/2 connection of an app; each may take a retry buffer. */
export const STREAMS = 100;

/** Connections without a request are closed: a keepalive costs bytes on a metered link. */
export const POOL_IDLE = '60s';

/** Envoy's own limits (1024 requests, 3 retries at once) would turn a failover of many into errors. */
export const CIRCUIT = {
  thresholds: [
    {
      max_connections: 8192,
      max_pending_requests: 65536,
      max_requests: 65536,
      max_retries: 65536,
    },
  ],
};
