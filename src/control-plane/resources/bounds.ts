// The numbers of the way of a request, each with its reason. Durations are in Envoy's notation.

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

/** A direct connection attempt that takes longer goes to the queue: two SYNs (the second leaves after 1 s). */
export const CONNECT_TIMEOUT = '2s';

/** How long a connection may be silent. */
export interface Patience {
  /** TCP_USER_TIMEOUT: sent bytes that nobody acknowledges for so long mean that the link is gone. Linux alone would wait
   *  for about 15 minutes. */
  ms: number;
  /** Seconds. While we only wait for an answer there are no bytes of ours to acknowledge: probes are. They cost 80 bytes
   *  each, so connections without a request must not live long (POOL_IDLE). */
  probes: { keepalive_time: number; keepalive_interval: number; keepalive_probes: number };
}

/** The direct way is impatient, since the queue waits behind it. A lost link is seen within 4 s. */
export const DIRECT_PATIENCE: Patience = {
  ms: 3_000,
  probes: { keepalive_time: 3, keepalive_interval: 1, keepalive_probes: 1 },
};

/** The egress way waits: TCP moves again by itself soon after a short blackhole, and then nothing is sent twice. */
export const EGRESS_PATIENCE: Patience = {
  ms: 60_000,
  probes: { keepalive_time: 10, keepalive_interval: 3, keepalive_probes: 3 },
};

/** An answer that does not come for so long counts as lost (the request was acknowledged by the peer's TCP by then). */
export const ANSWER_PATIENCE_MS = 60_000;

/** Before a request is sent again for an answer that does not count; long enough for an ejection to be known everywhere. */
export const RETRY_PAUSE = { base_interval: '0.1s', max_interval: '1s' };

/** How long a failed destination is left alone before Envoy tries it again by itself, when nobody holds it. */
export const EJECTION = '2s';

/** Long streams may pause; a peer that says nothing for so long is gone. */
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
