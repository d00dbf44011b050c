// A mesh on loopback before upstreams that are told apart by name: what arrives where, direct and after it was stored.

import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Test } from 'tap';
import { Pool } from 'undici';
import { type Layby, startLayby } from '../rig/layby.ts';
import { testdir } from '../rig/testdir.ts';

/** Of what S3 says, as much as a delivery to S3 takes. */
const OF_S3 = { etag: '"1"', 'x-amz-request-id': '1' };

export interface Arrived {
  at: string;
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface Upstreams {
  url(name: string): string;
  /** Everything that came, in its order. */
  arrived: Arrived[];
  /** The first, old or new, that is so; taken out. */
  next(is: (arrived: Arrived) => boolean): Promise<Arrived>;
  /** What to answer, once for each; then 200. */
  answers: { status: number; afterMs?: number }[];
}

export async function upstreams(t: Test, ...names: string[]): Promise<Upstreams> {
  const arrived: Arrived[] = [];
  const answers: Upstreams['answers'] = [];
  const bell = new EventEmitter();
  const urls = new Map<string, string>();
  for (const at of names) {
    const server = createServer(async (request, response) => {
      let body = '';
      for await (const piece of request) body += piece;
      const { method = '', url = '', headers } = request;
      arrived.push({ at, method, url, headers, body });
      bell.emit('arrived');
      const { status, afterMs = 0 } = answers.shift() ?? { status: 200 };
      const answer = () => response.writeHead(status, { ...OF_S3, 'x-at': at, 'x-secret': 'yes' }).end(at);
      if (afterMs > 0) setTimeout(answer, afterMs);
      else answer();
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => {
      server.closeAllConnections();
      server.close();
    });
    urls.set(at, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  }
  return {
    arrived,
    answers,
    url: (name) => urls.get(name)!,
    next: async (is) => {
      for (const signal = AbortSignal.timeout(15_000); ; await once(bell, 'arrived', { signal })) {
        const at = arrived.findIndex(is);
        if (at >= 0) return arrived.splice(at, 1)[0]!;
      }
    },
  };
}

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
}

export interface Mesh {
  layby: Layby;
  call(
    method: string,
    url: string,
    options?: { headers?: Record<string, string>; body?: string | AsyncIterable<Buffer> },
  ): Promise<Answer>;
}

const CREDENTIALS = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE0000000', AWS_SECRET_ACCESS_KEY: 'secret' };

export async function mesh(t: Test, policy: string, ...extraArgs: string[]): Promise<Mesh> {
  const layby = await startLayby({ data: join(testdir(t), 'data'), policy, extraArgs, env: CREDENTIALS });
  const pool = new Pool(`http://${layby.outbound}`, { connections: 8 });
  t.teardown(async () => {
    if (!t.passing()) t.comment(layby.lines.slice(-40).join('\n'));
    await pool.destroy();
    await layby.kill9('all');
  });
  return {
    layby,
    call: async (method, url, { headers = {}, body } = {}) => {
      const { host, pathname, search } = new URL(url);
      const answer = await pool.request({
        method: method as 'GET',
        path: pathname + search,
        headers: { ...headers, host },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : Readable.from(body) }),
      });
      return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() };
    },
  };
}
