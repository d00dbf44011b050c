// The destination in the cloud: takes any request, writes down what arrived and answers as it was told. A script, run inside
// the cloud namespace by oracle.ts: `node oracle-server.ts FILE HOST PORT STREAM_PORT`. Judging is for checker.ts.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Answer,
  type Arrival,
  type FromServer,
  type Rule,
  type ToServer,
  WISH,
} from './oracle-protocol.ts';

const [, , file = 'oracle.jsonl', host = '127.0.0.1', port = '0', streamPort = '0'] = process.argv;

const tell = (line: FromServer): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};

let arrivals = 0;
let clock = 0;
let rules: Rule[] = [];
const stalled = new Set<IncomingMessage>();

const answerFor = (request: IncomingMessage): Answer => {
  const wish = request.headers[WISH];
  if (typeof wish === 'string') return JSON.parse(wish) as Answer;
  const rule = rules.find(
    ({ method, path, times }) =>
      times !== 0 &&
      (method === undefined || method === request.method) &&
      (path === undefined || request.url?.startsWith(path)),
  );
  if (rule?.times !== undefined) rule.times--;
  return rule ?? {};
};

const give = async (response: ServerResponse, answer: Answer): Promise<void> => {
  if (answer.delay) await sleep(answer.delay);
  const body = Buffer.from(answer.body ?? '');
  response.writeHead(answer.status ?? 200, {
    ...(answer.status === 204 ? {} : { 'content-length': body.length }),
    ...answer.headers,
  });
  response.end(response.req.method === 'HEAD' ? undefined : body);
};

const record = (request: IncomingMessage, response: ServerResponse): void => {
  const n = ++arrivals;
  const began = ++clock;
  const at = Date.now();
  const answer = answerFor(request);
  const hash = createHash('sha256');
  let bytes = 0;
  let given = false;
  let rested = false;
  const { remoteAddress, remotePort } = request.socket;
  const { method = '', url: path = '' } = request;
  tell({ began: n, method, path });

  const written = (torn: boolean): void => {
    const silent = torn || answer.never;
    const arrival: Arrival = {
      ...{ n, began, ended: ++clock, at, endedAt: Date.now(), method, path },
      ...{
        rawHeaders: request.rawHeaders,
        rawTrailers: request.rawTrailers,
        bytes,
        sha256: hash.digest('hex'),
      },
      ...{ torn, answer: silent ? null : (answer.status ?? 200), peer: `${remoteAddress}:${remotePort}` },
    };
    // On the disk before the answer: what the client was told must be in the record, also after a kill.
    appendFileSync(file, `${JSON.stringify(arrival)}\n`);
    tell({ arrival });
  };
  const answerNow = (): void => {
    if (given || answer.never) return;
    given = true;
    void give(response, answer);
  };

  request.on('data', (piece: Buffer) => {
    hash.update(piece);
    bytes += piece.length;
    if (answer.cut !== undefined && bytes >= answer.cut) request.socket.resetAndDestroy();
    else if (answer.stall !== undefined && bytes >= answer.stall && !rested) {
      rested = true;
      stalled.add(request.pause());
    } else if (answer.after !== undefined && bytes >= answer.after) answerNow();
  });
  let ended = false;
  const end = (torn: boolean): void => {
    if (ended) return;
    ended = true;
    written(torn);
    if (!torn) answerNow();
  };
  request.once('end', () => end(!request.complete));
  request.once('close', () => end(!request.complete));
  request.on('error', () => end(true));
  response.on('error', () => {});
};

/** Any request is answered with bytes without an end, or `?bytes=N` of them; `?pace=MS` sends a line each MS ms. */
const stream = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
  request.resume();
  const asked = new URL(request.url ?? '/', 'http://stream').searchParams;
  const pace = asked.has('pace') ? Number(asked.get('pace')) : undefined;
  let left = asked.has('bytes') ? Number(asked.get('bytes')) : Number.POSITIVE_INFINITY;
  response.on('error', () => {});
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    ...(Number.isFinite(left) ? { 'content-length': left } : {}),
  });
  const gone = once(response, 'close');
  for (let line = 1; left > 0 && !response.destroyed; line++) {
    const piece = pace === undefined ? Buffer.alloc(64 * 1024, line & 255) : Buffer.from(`tick ${line}\n`);
    const part = piece.subarray(0, Math.min(piece.length, left));
    left -= part.length;
    if (!response.write(part)) await Promise.race([once(response, 'drain'), gone]);
    if (pace !== undefined) await Promise.race([sleep(pace), gone]);
  }
  response.end();
};

const listen = async (server: Server, at: number): Promise<number> => {
  // An upload over a link that was cut may rest for minutes: giving up is never this side's doing.
  Object.assign(server, { requestTimeout: 0, headersTimeout: 0, timeout: 0, keepAliveTimeout: 120_000 });
  server.listen(at, host);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
};

appendFileSync(file, '');
const ports = {
  port: await listen(createServer({ maxHeaderSize: 256 * 1024 }, record), Number(port)),
  streamPort: await listen(
    createServer((request, response) => void stream(request, response)),
    Number(streamPort),
  ),
};
tell({ ready: ports });

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const order = JSON.parse(line) as ToServer;
    if (order.cmd === 'answer') rules = [order.rule, ...rules];
    if (order.cmd === 'reset') {
      rules = [];
      for (const request of stalled) request.resume();
      stalled.clear();
    }
    tell({ done: order.id });
  })
  // The driver is gone: nobody will ask any more.
  .on('close', () => process.exit(0));
