// Who talks with whom in the tests of streams: servers that hold conversations, and apps that begin them at the sidecar.

import { once } from 'node:events';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  request,
} from 'node:http';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  createServer as createHttp2Server,
  type IncomingHttpHeaders as Http2Headers,
  type Http2Server,
} from 'node:http2';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import * as grpc from '@grpc/grpc-js';
import type { Test } from 'tap';

export const portOf = (server: Server | Http2Server): number => (server.address() as AddressInfo).port;

/** A document of a destination. */
export const destination = (name: string, upstream: object, more: object = {}): string =>
  JSON.stringify({
    apiVersion: 'layby.dev/v1alpha1',
    kind: 'Destination',
    metadata: { name },
    spec: { hosts: [`${name}.example`], upstream, replay: { retry: { max: '200ms' } }, ...more },
  });

export interface Handshake {
  url: string;
  headers: IncomingHttpHeaders;
}

export interface WebSocketServer {
  port: number;
  handshakes: Handshake[];
  /** Their ends at the server, in the order of the handshakes. */
  sockets: Socket[];
}

/** Says back whatever it is told; answers other requests with 200. `port`: 0 for any. */
export async function webSocketServer(t: Test, port = 0, host = '127.0.0.1'): Promise<WebSocketServer> {
  const handshakes: Handshake[] = [];
  const sockets: Socket[] = [];
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.end('plain'));
  });
  server.on('upgrade', (request: IncomingMessage, socket: Socket) => {
    handshakes.push({ url: request.url ?? '', headers: request.headers });
    sockets.push(socket);
    socket.on('error', () => {});
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n');
    socket.pipe(socket);
  });
  server.listen(port, host);
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: portOf(server), handshakes, sockets };
}

export interface Upgrade {
  status: number;
  headers: IncomingHttpHeaders;
  /** Of an answer that is none. */
  text: string;
  socket: Socket;
}

/** An app's handshake of a WebSocket at the sidecar. `head`: what is other of it. */
export async function upgrade(
  outbound: string,
  url: string,
  head: { method?: string; headers?: Record<string, string> } = {},
): Promise<Upgrade> {
  const [host, port] = outbound.split(':');
  const { host: authority, pathname, search } = new URL(url);
  const asked = request({
    ...{ host, port, path: pathname + search, method: head.method ?? 'GET', agent: false },
    headers: {
      host: authority,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      ...head.headers,
    },
  }).end();
  const { promise, resolve, reject } = Promise.withResolvers<Upgrade>();
  asked.on('error', reject);
  asked.on('upgrade', ({ statusCode = 0, headers }, socket) => {
    socket.on('error', () => {});
    resolve({ status: statusCode, headers, text: '', socket: socket as Socket });
  });
  asked.on('response', async (answer) => {
    let text = '';
    for await (const piece of answer) text += piece;
    resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text, socket: answer.socket });
  });
  return promise;
}

/** However it ends. */
export const closed = (socket: Socket): Promise<void> =>
  new Promise((done) => socket.once('close', () => done()));

/** Says `words`, and waits until the same comes back. */
export async function echoed(stream: Duplex, words: Buffer): Promise<boolean> {
  const pieces: Buffer[] = [];
  const { promise: enough, resolve, reject } = Promise.withResolvers<void>();
  let bytes = 0;
  // One listener for all pieces: several may come at once.
  const take = (piece: Buffer) => {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes >= words.length) resolve();
  };
  const late = setTimeout(() => reject(new Error(`${bytes} of ${words.length} bytes in 10 s`)), 10_000);
  stream.on('data', take);
  stream.write(words);
  await enough.finally(() => {
    clearTimeout(late);
    stream.off('data', take);
  });
  return Buffer.concat(pieces).equals(words);
}

/** An app that speaks HTTP/2 without TLS, from its first byte on. */
export function http2App(t: Test, outbound: string): ClientHttp2Session {
  const session = connect(`http://${outbound}`);
  session.on('error', () => {});
  t.teardown(() => session.destroy());
  return session;
}

export interface Http2Answer {
  status: number;
  headers: Http2Headers;
  text: string;
}

export async function answerTo(stream: ClientHttp2Stream): Promise<Http2Answer> {
  const [headers] = (await once(stream, 'response')) as [Http2Headers];
  let text = '';
  for await (const piece of stream.setEncoding('utf8')) text += piece;
  return { status: Number(headers[':status']), headers, text };
}

/** A server that speaks HTTP/2 and nothing else, without TLS. `port`: 0 for any. */
export async function http2Server(
  t: Test,
  port: number,
  listener: RequestListener,
  host = '127.0.0.1',
): Promise<number> {
  const server = createHttp2Server(listener as never);
  const sessions = new Set<{ destroy(): void }>();
  server.on('session', (session) => sessions.add(session));
  server.listen(port, host);
  await once(server, 'listening');
  t.teardown(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return portOf(server);
}

const asBytes = (bytes: Buffer) => bytes;
const method = (name: string, streams: boolean) => ({
  ...{ path: `/test.Echo/${name}`, requestStream: streams, responseStream: streams },
  ...{ requestSerialize: asBytes, requestDeserialize: asBytes },
  ...{ responseSerialize: asBytes, responseDeserialize: asBytes },
});

export const ECHO = { Unary: method('Unary', false), Bidi: method('Bidi', true) } as const;

/** Says back what it is told, with metadata and trailers; `Unary` of `no` fails. */
export async function grpcServer(t: Test): Promise<{ port: number; calls: string[] }> {
  const calls: string[] = [];
  const server = new grpc.Server();
  const trailers = () => {
    const metadata = new grpc.Metadata();
    metadata.set('x-sum', '42');
    metadata.set('x-sum-bin', Buffer.from([0, 255]));
    return metadata;
  };
  const implementation = {
    Unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      calls.push(String(call.metadata.get('x-app')[0] ?? ''));
      const initial = new grpc.Metadata();
      initial.set('x-first', 'yes');
      call.sendMetadata(initial);
      if (call.request.toString() === 'no')
        done({ code: grpc.status.FAILED_PRECONDITION, details: 'not like this', metadata: trailers() });
      else done(null, call.request, trailers());
    },
    Bidi: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (bytes: Buffer) => {
        if (bytes.toString() === 'cut') call.emit('error', { code: grpc.status.ABORTED, details: 'cut' });
        else call.write(bytes);
      });
      call.on('end', () => call.end(trailers()));
    },
  };
  server.addService(ECHO, implementation as unknown as grpc.UntypedServiceImplementation);
  t.teardown(() => server.forceShutdown());
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  return { port, calls };
}

export interface UnaryAnswer {
  error?: grpc.ServiceError;
  answer?: string;
  first: grpc.Metadata;
  trailers: grpc.Metadata;
}

/** An app's gRPC client: its channel leads to the sidecar, and names the host that it means. */
export function grpcApp(t: Test, outbound: string, authority: string) {
  const Echo = grpc.makeGenericClientConstructor(ECHO, 'Echo');
  const client = new Echo(outbound, grpc.credentials.createInsecure(), {
    'grpc.default_authority': authority,
    'grpc.enable_http_proxy': 0,
  });
  t.teardown(() => client.close());
  const within = () => ({ deadline: Date.now() + 15_000 });
  return {
    unary: (words: string): Promise<UnaryAnswer> =>
      new Promise((resolve) => {
        const metadata = new grpc.Metadata();
        metadata.set('x-app', 'video');
        let first = new grpc.Metadata();
        let trailers = new grpc.Metadata();
        const call = client.Unary!(
          ...[Buffer.from(words), metadata, within()],
          (error: grpc.ServiceError | null, answer?: Buffer) =>
            // The status, and with it the trailers, is told after the answer.
            setImmediate(() =>
              resolve({
                ...(error ? { error } : {}),
                ...(answer ? { answer: answer.toString() } : {}),
                first,
                trailers,
              }),
            ),
        ) as grpc.ClientUnaryCall;
        call.on('metadata', (metadata) => {
          first = metadata;
        });
        call.on('status', ({ metadata }) => {
          trailers = metadata;
        });
      }),
    bidi: () => client.Bidi!(within()) as grpc.ClientDuplexStream<Buffer, Buffer>,
  };
}
