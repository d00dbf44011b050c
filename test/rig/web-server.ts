// An ordinary web server with its own defaults, for what only such a one does: TLS, and connections that it closes when nothing came on
// them for a while. A script, run in the cloud by web-server-process.ts: `node web-server.ts HOST KEEP_ALIVE_MS [DIR]`. DIR has tls.crt and
// tls.key. The first line says the port, each further one a request.
// `?wait=MS` delays an answer, `?pause=MS` what comes after its head.

import { readFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';

const [, , host = '127.0.0.1', keepAlive = '5000', dir] = process.argv;

const numbers = new WeakMap<Socket, number>();
let connections = 0;

const listener: RequestListener = async (request, response) => {
  let bytes = 0;
  for await (const piece of request) bytes += piece.length;
  const { method, url, headers, socket } = request;
  const said = { method, url, bytes, headers, connection: numbers.get(socket) };
  process.stdout.write(`${JSON.stringify(said)}\n`);
  const ms = (name: string) => Number(new RegExp(`[?&]${name}=(\\d+)`).exec(url ?? '')?.[1] ?? 0);
  const wait = ms('wait') || ms('pause');
  if (ms('pause') > 0) response.write('event: first\n\n');
  setTimeout(() => response.end('from the cloud'), wait);
};

const server = dir
  ? createTlsServer(
      { cert: readFileSync(join(dir, 'tls.crt')), key: readFileSync(join(dir, 'tls.key')) },
      listener,
    )
  : createServer(listener);
// Node adds a second to what it says: a buffer for answers on their way.
Object.assign(server, { keepAliveTimeout: Number(keepAlive), keepAliveTimeoutBuffer: 0 });
server.on(dir ? 'secureConnection' : 'connection', (socket: Socket) => numbers.set(socket, ++connections));
server.listen(0, host, () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
