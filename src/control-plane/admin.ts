// The admin listener: health, metrics, and the JSON behind the command line. What only the queue knows is asked from it.

import { hash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Pool } from 'undici';
import type { Override } from '../link/state.ts';
import { LaybyError, messageOf, viewOf } from '../telemetry/error.ts';
import { type Address, formatAddress, isLocal } from '../wire/address.ts';
import type { QueueStatus } from '../wire/edge-service.ts';
import { listen, poolTo } from '../wire/http.ts';

export interface AdminRoutes {
  /** `queue`: what it says now; undefined where it does not answer. */
  status(queue: QueueStatus | undefined): unknown;
  /** What is in force, and for whom: all that makes the resources of a sidecar. */
  policy(): unknown;
  /** Why traffic cannot flow yet, or undefined when it can. */
  notReady(): string | undefined;
  metrics(): Promise<string>;
  /** Resolves when it is in force on the sidecars. Rejects with LAYBY_LINK_INVALID, LAYBY_DESTINATION_UNKNOWN. */
  override(to: Override, destinations: string[]): Promise<void>;
  /** The queue's own admin listener. */
  queue: Address;
  /** What a request must bear, health and readiness apart. */
  token?: string;
}

const json = (response: ServerResponse, status: number, body: unknown) => {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body)}\n`);
};

/** For probes, which have no token, and which it tells nothing. */
const isOpen = ({ url }: IncomingMessage): boolean => url === '/healthz' || url === '/readyz';

const digest = (text: string): Buffer => hash('sha256', text, 'buffer');

const bears = ({ headers }: IncomingMessage, token: string): boolean =>
  timingSafeEqual(digest(headers.authorization ?? ''), digest(`Bearer ${token}`));

function refuse(response: ServerResponse): void {
  response.setHeader('www-authenticate', 'Bearer');
  json(response, 401, {
    code: 'LAYBY_ADMIN_REFUSED',
    message: 'the admin listener wants its token',
    remedy: 'name the file that has it in LAYBY_ADMIN_TOKEN_FILE',
  });
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const piece of request) {
    text += piece;
    if (text.length > 65_536) throw new LaybyError('LAYBY_REQUEST_INVALID', 'the body is too long');
  }
  return text;
}

/** Errors: LAYBY_ADDRESS_IN_USE; LAYBY_ADDRESS_EXPOSED without a token
 *  where other machines can reach it. */
export async function serveAdmin(
  address: Address,
  routes: AdminRoutes,
): Promise<{ server: Server; address: Address }> {
  const { token } = routes;
  if (token === undefined && !isLocal(address)) {
    throw new LaybyError(
      'LAYBY_ADDRESS_EXPOSED',
      `the admin listener at ${formatAddress(address)} can be reached from other machines`,
      { remedy: 'name a file with a token, --admin-token-file FILE, or listen on the loopback' },
    );
  }
  const queue = poolTo(routes.queue);
  const server = createServer((request, response) => {
    if (token !== undefined && !isOpen(request) && !bears(request, token)) {
      refuse(response);
      return;
    }
    answer(request, response, routes, queue).catch((error) => {
      const view = viewOf(error);
      if (response.headersSent) response.destroy();
      else json(response, view.code === 'LAYBY_INTERNAL' ? 500 : 400, view);
    });
  });
  server.on('close', () => void queue.close());
  return { server, address: await listen(server, address) };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  routes: AdminRoutes,
  queue: Pool,
): Promise<void> {
  const { pathname } = new URL(request.url ?? '/', 'http://admin');
  switch (`${request.method} ${pathname}`) {
    case 'GET /healthz':
      response.end('ok\n');
      return;
    case 'GET /readyz': {
      const why = routes.notReady();
      response.statusCode = why ? 503 : 200;
      response.end(`${why ?? 'ready'}\n`);
      return;
    }
    case 'GET /metrics':
      response.setHeader('content-type', 'text/plain; version=0.0.4; charset=utf-8');
      response.end((await routes.metrics()) + (await queueText(queue, '/metrics')));
      return;
    case 'GET /v1/status':
      json(response, 200, routes.status(await statusOf(queue)));
      return;
    case 'GET /v1/policy':
      json(response, 200, routes.policy());
      return;
    case 'POST /v1/link': {
      const { state, destinations = [] } = JSON.parse(await bodyOf(request)) as {
        state: Override;
        destinations?: string[];
      };
      await routes.override(state, destinations);
      json(response, 200, routes.status(await statusOf(queue)));
      return;
    }
    default:
      if (pathname.startsWith('/v1/queue')) return forward(request, response, queue);
      json(response, 404, { code: 'LAYBY_NOT_FOUND', message: `nothing at ${pathname}` });
  }
}

/** The queue's metrics; none while it is away. */
async function queueText(queue: Pool, path: string): Promise<string> {
  try {
    const { statusCode, body } = await queue.request({ path, method: 'GET' });
    const text = await body.text();
    return statusCode === 200 ? text : '';
  } catch {
    return '';
  }
}

async function statusOf(queue: Pool): Promise<QueueStatus | undefined> {
  const text = await queueText(queue, '/v1/queue/status');
  return text ? (JSON.parse(text) as QueueStatus) : undefined;
}

async function forward(request: IncomingMessage, response: ServerResponse, queue: Pool): Promise<void> {
  try {
    const { statusCode, headers, body } = await queue.request({
      path: request.url ?? '/',
      method: (request.method ?? 'GET') as 'GET',
      ...(request.method === 'GET' ? {} : { body: request }),
    });
    const { 'content-type': type = 'application/json', 'content-length': length } = headers;
    response.writeHead(statusCode, {
      'content-type': String(type),
      'cache-control': 'no-store',
      ...(length !== undefined && { 'content-length': String(length) }),
    });
    // A body of gigabytes waits for whoever reads it, not in memory.
    await pipeline(body, response);
  } catch (error) {
    if (response.headersSent) throw error;
    json(response, 503, {
      code: 'LAYBY_QUEUE_AWAY',
      message: `the queue does not answer (${messageOf(error)})`,
    });
  }
}
