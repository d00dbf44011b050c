// What the kernel knows of the connections that leave this machine. Between the queue and the socket that leaves it lie the buffers of
// Envoy and of the kernel: on a link of 16 kbit/s minutes of a body. Only the kernel knows whether these bytes still move.

import { readFile } from 'node:fs/promises';

/** Of this network namespace, where the sidecar of the egress listener is too. */
const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];

/** States in which bytes may still be on their way out (Linux, include/net/tcp_states.h): ESTABLISHED, FIN_WAIT1, CLOSE_WAIT, LAST_ACK,
 *  CLOSING. */
const SENDING: ReadonlySet<string> = new Set(['01', '04', '08', '09', '0B']);

/** Ports of peers to whom bytes are on their way, in one table (the form is in Linux, Documentation/networking/proc_net_tcp.rst). A
 *  connection whose last retransmission nobody has acknowledged does not count: nothing of it moves. */
export function movingPorts(table: string): Set<number> {
  const ports = new Set<number>();
  for (const line of table.split('\n')) {
    const [, , remote, state = '', queues, , unanswered] = line.trim().split(/\s+/);
    if (!SENDING.has(state)) continue;
    const unacknowledged = Number.parseInt(queues?.split(':')[0] ?? '', 16);
    if (unacknowledged > 0 && Number.parseInt(unanswered ?? '', 16) === 0)
      ports.add(Number.parseInt(remote?.split(':')[1] ?? '', 16));
  }
  return ports;
}

/** Ports of peers to whom bytes are on their way. Empty where the system has no such tables. */
export async function readMovingPorts(): Promise<ReadonlySet<number>> {
  const tables = await Promise.all(TABLES.map((path) => readFile(path, 'latin1').catch(() => '')));
  return new Set(tables.flatMap((table) => [...movingPorts(table)]));
}
