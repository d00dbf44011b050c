// Ports on loopback, for what runs without a road; in a namespace every port is free.

import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

/** The kernel may name a port again that nobody has taken yet. */
const given = new Set<number>();

/** A TCP port of 127.0.0.1 that was free a moment ago, and that this process was not given before. */
export const freePort = async (): Promise<number> => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  if (given.has(port)) return freePort();
  given.add(port);
  return port;
};
