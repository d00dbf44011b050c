// The queue as a program inside the test, on Unix sockets, with a policy on the disk and no control plane; and in the place of
// the sidecar's egress listener a server that is the destination, or says that there is no link.

import { createHash } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  request,
} from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as grpc from '@grpc/grpc-js';
import { saveLastGood } from '../../src/policy/last-good.ts';
import type { Destination, Policy } from '../../src/policy/policy.ts';
import { policyVersion } from '../../src/policy/version.ts';
import { type QueueOptions, startQueue } from '../../src/queue/queue.ts';
import { logger } from '../../src/telemetry/log.ts';
import { type EdgeState, edgeService, type QueueReport } from '../../src/wire/edge-service.ts';
import { listen } from '../../src/wire/http.ts';
import { type LinkMemory, linkMemoryText, NO_OVERRIDES } from '../../src/wire/link-memory.ts';
import { linkMemoryFile } from '../../src/wire/shared-dir.ts';

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  body: Buffer;
}

/** What came out of the queue, in the place of the destination. */
export interface Sent {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export const destinationOf = (name: string, store: Partial<Destination['store']> = {}): Destination => ({
  name,
  hosts: [`${name}.example`],
  upstream: { url: `https://${name}.example` },
  store: {
    mode: 'always',
    methods: ['PUT', 'POST'],
    receipt: 'redirect',
    order: 'none',
    class: 'normal',
    reads: 'stored',
    listings: 'unavailable',
    unknown: 'unavailable',
    whenFull: 'refuse',
    ...store,
  },
  replay: { concurrency: 4, resume: 'none', retry: { max: 200 } },
});

/** S3 says an ETag of what it was given, and answers a POST with a document. */
const answerOfS3 = (
  { method, url = '' }: IncomingMessage,
  body: Buffer,
): { headers?: Record<string, string>; body?: string } => {
  if (method === 'PUT') return { headers: { etag: `"${createHash('md5').update(body).digest('hex')}"` } };
  if (method !== 'POST') return {};
  if (/[?&]uploadId=/.test(url))
    return {
      body: '<CompleteMultipartUploadResult><ETag>"of-parts-1"</ETag></CompleteMultipartUploadResult>',
    };
  return /[?&]delete\b/.test(url) ? { body: '<DeleteResult></DeleteResult>' } : {};
};

export const UNKNOWABLE = { kind: '', interface: '', metered: false, roaming: false };

/** `dir`: where the store goes. `remembered`: what a control plane left; default: there is no override, and the kind of link cannot be
 *  known; null: nothing, so that replay waits. */
export const scene = async (
  dir: string,
  destinations: Destination[],
  {
    remembered = { ...NO_OVERRIDES, network: UNKNOWABLE },
    ...options
  }: Pick<QueueOptions, 'quota' | 'reserve' | 'storeKey'> & { remembered?: LinkMemory | null } = {},
) => {
  const sockets = await mkdtemp(join(tmpdir(), 'layby-queue-'));
  const at = (name: string) => ({ unix: join(sockets, name) });
  const log = logger('queue');
  log.level = process.env.LAYBY_LOG ?? 'silent';
  const policyOf = (of: Destination[]): Policy => ({
    version: policyVersion({ destinations: of }),
    destinations: of,
  });
  let inForce = policyOf(destinations);
  mkdirSync(dir, { recursive: true });
  await saveLastGood(dir, inForce);
  const shared = join(dir, 'shared');
  const remember = (memory: LinkMemory = { ...NO_OVERRIDES, network: UNKNOWABLE }) =>
    linkMemoryFile(shared).replace(linkMemoryText(memory));
  if (remembered) await remember(remembered);

  const link = {
    up: false,
    /** Requests that meet no link while there is one. */
    refuses: (_incoming: IncomingMessage): boolean => false,
    /** The connection ends instead of an answer. */
    cut: false,
    /** A body breaks off after 1 MiB. */
    tear: false,
    /** The answer, before the body is read. */
    refusal: 0,
    /** The status of an answer, where it is not `answer.status`. */
    status: (_incoming: IncomingMessage): number | undefined => undefined,
    /** In the place of all else: what the destination does. */
    serve: undefined as RequestListener | undefined,
    /** Awaited before a whole request is answered: a destination that takes its time. */
    answer: async (_incoming: IncomingMessage): Promise<void> => {},
    /** Awaited before a body is read. */
    read: async (): Promise<void> => {},
  };
  const answer: { status: number; headers: Record<string, string>; body: string | Buffer } = {
    status: 200,
    headers: {},
    body: '',
  };
  const arrived = new Map<string, number>();
  const arriving = new Map<string, number>();
  const sent: Sent[] = [];
  const order: string[] = [];
  const begun = Promise.withResolvers<void>();
  const first = Promise.withResolvers<void>();
  let changed = () => {};
  const egress = createServer(async (incoming, response) => {
    const pieces: Buffer[] = [];
    if (incoming.url === '/a') begun.resolve();
    if (link.serve) return link.serve(incoming, response);
    await link.read();
    if (link.refusal > 0) {
      arriving.set(incoming.url!, Number.POSITIVE_INFINITY);
      response.writeHead(link.refusal, { connection: 'close' }).end();
      return;
    }
    let came = 0;
    try {
      for await (const piece of incoming) {
        pieces.push(piece);
        arriving.set(incoming.url!, (arriving.get(incoming.url!) ?? 0) + piece.length);
        changed();
        came += piece.length;
        if (link.tear && came > 1024 * 1024) incoming.destroy();
      }
    } catch {
      first.resolve();
      changed();
      return; // cut off: not a request
    }
    const body = Buffer.concat(pieces);
    if (!link.up || link.refuses(incoming)) {
      response.writeHead(503, { 'layby-no-link': 'UF' }).end();
      return;
    }
    await link.answer(incoming);
    if (link.cut) return void response.destroy();
    arrived.set(incoming.url!, body.length);
    sent.push({ method: incoming.method!, path: incoming.url!, headers: incoming.headers, body });
    order.push(`${incoming.method} ${incoming.url} ${body.length}`);
    const plain = answer.status === 200 && answer.body.length === 0;
    const s3 = plain ? answerOfS3(incoming, body) : undefined;
    const status = link.status(incoming) ?? answer.status;
    response.writeHead(status, { ...s3?.headers, ...answer.headers }).end(s3?.body ?? answer.body);
    changed();
  });
  await listen(egress, at('egress'));
  const start = () =>
    startQueue({
      dir,
      shared,
      controlPatience: 0,
      listen: at('queue'),
      admin: at('admin'),
      egress: at('egress'),
      control: at('control'),
      log,
      ...options,
    });
  let queue = await start();
  const call = (
    socket: string,
    method: string,
    host: string,
    path: string,
    body?: Buffer,
    headers: Record<string, string> = {},
  ) =>
    new Promise<Answer>((resolve, reject) => {
      const asked = request(
        {
          socketPath: at(socket).unix,
          method,
          path,
          headers: { host, ...(body && { 'content-length': body.length }), ...headers },
        },
        async (response) => {
          const pieces: Buffer[] = [];
          for await (const piece of response) pieces.push(piece);
          const body = Buffer.concat(pieces);
          const text = body.toString();
          resolve({ status: response.statusCode!, headers: response.headers, text, body });
        },
      );
      asked.on('error', reject);
      asked.end(body);
    });
  return {
    /** Where the queue takes requests. */
    socket: at('queue').unix,
    link,
    /** What a control plane would have left: replay begins. */
    remember,
    arrived,
    /** Bytes so far by path, of all requests for it, whole or not. */
    arriving,
    /** In the order of their arrival. */
    sent,
    /** A request to the first destination. */
    ask: (method: string, path: string, options: { body?: Buffer; headers?: Record<string, string> } = {}) =>
      call('queue', method, `${destinations[0]!.name}.example`, path, options.body, options.headers),
    /** What arrived, in turn: method, path, bytes. */
    order,
    /** When the first request began to arrive, for /a, and when the first broke off in its body. */
    torn: { begun: begun.promise, first: first.promise },
    call: (method: string, path: string, body?: Buffer, headers: Record<string, string> = {}) =>
      call('queue', method, `${destinations[0]!.name}.example`, path, body, headers),
    /** What the destination says without reading. */
    refuse: (status: number) => {
      link.refusal = status;
    },
    /** What the destination says, where there is a link. */
    answer,
    adminAddress: at('admin'),
    put: (path: string, body: Buffer, host = `${destinations[0]!.name}.example`, headers = {}) =>
      call('queue', 'PUT', host, path, body, headers),
    admin: (path: string) => call('admin', 'GET', 'layby', path),
    act: (path: string, body: object) =>
      call('admin', 'POST', 'layby', path, Buffer.from(JSON.stringify(body)), {
        'content-type': 'application/json',
      }),
    /** Resolves when `done` holds; asked whenever something arrived. */
    until: (done: () => boolean) =>
      new Promise<void>((resolve) => {
        changed = () => done() && resolve();
        changed();
      }),
    /** A control plane comes with another policy, and goes again when the queue has it. */
    repolicy: async (next: Destination[]) => {
      inForce = policyOf(next);
      const taken = Promise.withResolvers<void>();
      const server = new grpc.Server();
      server.addService(edgeService, {
        Attach: (call: grpc.ServerDuplexStream<QueueReport, EdgeState>) => {
          call.on('data', ({ policy_version }: QueueReport) => {
            if (policy_version === inForce.version) taken.resolve();
          });
          call.on('error', () => {});
          call.write({
            policy: { version: inForce.version, json: JSON.stringify(inForce) },
            destinations: [],
          });
        },
      });
      const address = `unix:${at('control').unix}`;
      await promisify(server.bindAsync.bind(server))(address, grpc.ServerCredentials.createInsecure());
      await taken.promise;
      server.forceShutdown();
    },
    /** `next`: the destinations of the policy from now on. */
    restart: async (next?: Destination[]) => {
      await queue.close();
      if (next) inForce = policyOf(next);
      await saveLastGood(dir, inForce);
      queue = await start();
    },
    stop: async () => {
      await queue.close();
      egress.closeAllConnections();
      egress.close();
      rmSync(sockets, { recursive: true });
    },
  };
};
