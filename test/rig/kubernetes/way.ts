// A way to an API server that can be cut for one client while others go on.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface Way {
  /** `https://127.0.0.1:PORT` */
  url: string;
  /** All connections end, and each new one at once. */
  cut(): void;
  mend(): void;
  /** Connections taken so far, while it was cut too. */
  connections: () => number;
  close(): void;
}

export async function wayTo(url: string): Promise<Way> {
  const { port } = new URL(url);
  const open = new Set<Socket>();
  let isCut = false;
  let taken = 0;
  const server = createServer((near) => {
    taken += 1;
    if (isCut) {
      near.destroy();
      return;
    }
    const far = connect(Number(port), '127.0.0.1');
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(one);
      one.pipe(other);
      one.on('error', () => {});
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endAll = () => {
    for (const socket of open) socket.destroy();
  };
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut() {
      isCut = true;
      endAll();
    },
    mend() {
      isCut = false;
    },
    connections: () => taken,
    close() {
      endAll();
      server.close();
    },
  };
}
