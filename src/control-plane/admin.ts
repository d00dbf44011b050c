// The admin listener: health, metrics, and the JSON behind the command line. What only the queue knows is asked from it.

import type { Server } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Pool } from 'undici';
import type { Override } from '../link/state.ts';
import { nothingHeld } from '../policy/sources/kubernetes/held.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { type Address, formatAddress, isLocal } from '../wire/address.ts';
import { type AdminRequest, adminServer } from '../wire/admin-server.ts';
import type { QueueStatus } from '../wire/edge-service.ts';
import { fieldsOf, listOf, TEXT } from '../wire/fields.ts';
import { serveChecks, serveMetrics } from '../wire/health-server.ts';
import { listen, poolTo } from '../wire/http.ts';
import { readBytes, readJson, sendJson } from '../wire/http-server.ts';
import type { QueueProblem } from './queue-watch.ts';

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
  /** With a cluster. Returns what was accepted. Errors: LAYBY_POLICY_NOTHING_HELD, LAYBY_KUBERNETES_AWAY. */
  acceptDeletions?(): string[];
  /** The queue's own admin listener. */
  queue: Address;
  /** Why the queue does not work: one that is silent is not asked. Default: not known. */
  queueProblem?: () => QueueProblem | undefined;
  /** What a request must bear, health and readiness apart. */
  token?: string;
  /** Names that it is called by, beside its address. */
  hosts?: readonly string[];
  log: Logger;
}

/** Of a request, bytes: the queue's own bound, ids of an operator's selection for the most part. */
const BODY_BYTES = 4 * 1024 * 1024;
/** The longest that status and metrics wait for the queue, ms. */
const QUEUE_ANSWER_MS = 5_000;

/** As it comes to `POST /v1/link`. */
interface LinkRequest {
  state: string;
  destinations: string[];
}

/** Errors: LAYBY_ADDRESS_IN_USE; LAYBY_ADDRESS_EXPOSED without a token
 *  where other machines can reach it. */
export async function serveAdmin(
  address: Address,
  routes: AdminRoutes,
): Promise<{ server: Server; address: Address; metrics: () => Promise<string> }> {
  const { token } = routes;
  if (token === undefined && !isLocal(address)) {
    throw new LaybyError(
      'LAYBY_ADDRESS_EXPOSED',
      `the admin listener at ${formatAddress(address)} can be reached from other machines`,
      { remedy: 'name a file with a token, --admin-token-file FILE, or listen on the loopback' },
    );
  }
  const queue = poolTo(routes.queue);
  const { hosts, log } = routes;
  const open = ['/healthz', '/readyz'];
  const sources: Sources = { ...routes, pool: queue };
  const server = adminServer({ address, hosts, token, open, log }, (asked) => answer(asked, sources));
  server.on('close', () => void queue.close());
  const metrics = () => metricsOf(sources);
  return { server, address: await listen(server, address), metrics };
}

interface Sources extends AdminRoutes {
  /** To the queue's admin listener. */
  pool: Pool;
}

async function answer(asked: AdminRequest, routes: Sources): Promise<void> {
  const { request, response, route, path } = asked;
  if (serveChecks(asked, { notAlive: () => undefined, notReady: () => routes.notReady() })) return;
  switch (route) {
    case 'GET /metrics':
      return serveMetrics(asked, () => metricsOf(routes));
    case 'GET /v1/status':
      sendJson(response, 200, routes.status(await statusOf(routes)));
      return;
    case 'GET /v1/policy':
      sendJson(response, 200, routes.policy());
      return;
    case 'POST /v1/link': {
      const fields = fieldsOf<LinkRequest>(await readJson(request, BODY_BYTES), {
        state: TEXT,
        destinations: listOf(TEXT),
      });
      // What is no override is refused there.
      await routes.override(fields.state as Override, fields.destinations ?? []);
      sendJson(response, 200, routes.status(await statusOf(routes)));
      return;
    }
    case 'POST /v1/policy/accept-deletions':
      if (!routes.acceptDeletions) throw nothingHeld();
      sendJson(response, 200, { accepted: routes.acceptDeletions() });
      return;
    default:
      if (path.startsWith('/v1/queue')) return forward(asked, routes);
      throw new LaybyError('LAYBY_NOT_FOUND', `nothing answers ${route}`, {
        remedy: 'docs/cli.md has the paths of the admin listener',
      });
  }
}

async function metricsOf(routes: Sources): Promise<string> {
  return (await routes.metrics()) + (await queueText(routes, '/metrics'));
}

/** Nothing while the queue is away. */
async function queueText({ pool, queueProblem }: Sources, path: string): Promise<string> {
  if (queueProblem?.()?.silent) return '';
  try {
    const signal = AbortSignal.timeout(QUEUE_ANSWER_MS);
    const { statusCode, body } = await pool.request({ path, method: 'GET', signal });
    const text = await body.text();
    return statusCode === 200 ? text : '';
  } catch {
    return '';
  }
}

async function statusOf(routes: Sources): Promise<QueueStatus | undefined> {
  const text = await queueText(routes, '/v1/queue/status');
  return text ? (JSON.parse(text) as QueueStatus) : undefined;
}

async function forward(asked: AdminRequest, { pool, queueProblem }: Sources): Promise<void> {
  const { request, response, path, search } = asked;
  const problem = queueProblem?.();
  if (problem?.silent) {
    throw new LaybyError('LAYBY_QUEUE_AWAY', problem.text, {
      remedy: 'look at its log; end its process where it stays so, and it is started again',
    });
  }
  const method = (request.method ?? 'GET') as 'GET';
  const sent = /^(GET|HEAD)$/.test(method) ? undefined : await readBytes(request, BODY_BYTES);
  try {
    const { statusCode, headers, body } = await pool.request({
      path: path + search,
      method,
      ...(sent && { body: sent, headers: { 'content-type': 'application/json' } }),
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
    throw new LaybyError('LAYBY_QUEUE_AWAY', `the queue does not answer (${messageOf(error)})`, {
      remedy: 'it is started again by itself; the log says why it ended',
      cause: error,
    });
  }
}
