// Ports on loopback, for what runs without a road; in a namespace every port is free.

import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below those that the kernel gives to outgoing connections (32,768 and up, ip_local_port_range): one of them may be taken by any program's
 *  next connection, between here and the listener that it is for. */
const FIRST = 12_000;
const LAST = 32_000;

const given = new Set<number>();

/** A TCP port of 127.0.0.1 that was free a moment ago, and that this process was not given before. */
export const freePort = async (): Promise<number> => {
  for (;;) {
    const port = randomInt(FIRST, LAST);
    if (given.has(port)) continue;
    const server = createServer();
    const isFree = new Promise<boolean>((resolve) => {
      server.once('listening', () => resolve(true));
      server.once('error', () => resolve(false));
    });
    server.listen(port, '127.0.0.1');
    if (!(await isFree)) continue;
    server.close();
    await once(server, 'close');
    given.add(port);
    return port;
  }
};
