// The queue's own admin listener, for the control plane's; never reachable through a sidecar.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { DrainReport } from '../replay/drain.ts';
import type { Store, StoreEvent } from '../store/store.ts';
import { viewOf } from '../telemetry/error.ts';
import type { QueueStatus } from '../wire/edge-service.ts';
import type { Backlog } from './backlog.ts';
import { entryView } from './entries-page.ts';
import { type OperatorOptions, serveOperator } from './operator/routes.ts';
import { type Selection, selected, selectionOf } from './operator/select.ts';

/** The list is written piece by piece: a million entries need no more memory than one. */
async function list(response: ServerResponse, store: Store, selection: Selection): Promise<void> {
  response.setHeader('content-type', 'application/json');
  await pipeline(rows(store, selection), response);
}

async function* rows(store: Store, selection: Selection): AsyncGenerator<string> {
  let separator = '[';
  for await (const entry of selected(store, selection)) {
    yield separator + JSON.stringify(entryView(entry));
    separator = ',\n';
  }
  yield separator === '[' ? '[]\n' : ']\n';
}

/** Whoever asks waits for the answer: four minutes, since HTTP clients give up after five. */
const DRAIN_MS = 240_000;

/** Of one entry (`id`), or of all whose URL contains `url`; the newest lines where they are more than this. */
const AUDIT_LINES = 1_000;

const auditView = ({ at, ...event }: StoreEvent) => ({ at: new Date(at).toISOString(), ...event });

async function audit(response: ServerResponse, store: Store, query: URLSearchParams): Promise<void> {
  const id = query.get('id') ?? undefined;
  const url = query.get('url') ?? undefined;
  response.setHeader('content-type', 'application/json');
  if (!id && !url) {
    response.statusCode = 400;
    response.end(
      `${JSON.stringify({ code: 'LAYBY_REQUEST_INVALID', message: 'audit wants ?id= or ?url=' })}\n`,
    );
    return;
  }
  const lines: StoreEvent[] = [];
  for await (const event of store.audit({ ...(id && { id }), ...(url && { url }) })) {
    lines.push(event);
    if (lines.length > AUDIT_LINES) lines.shift();
  }
  response.end(`${JSON.stringify(lines.map(auditView))}\n`);
}

export interface QueueAdminOptions extends OperatorOptions {
  backlog: Backlog;
  metrics: () => Promise<string>;
  drain: (ms: number) => Promise<DrainReport>;
}

/** What went wrong, and not by the fault of who asked. */
const OURS = new Set(['LAYBY_INTERNAL', 'LAYBY_STORE_FAILED', 'LAYBY_STORE_FULL', 'LAYBY_STORE_CLOSED']);

export function queueAdmin({ metrics, drain, ...options }: QueueAdminOptions): Server {
  const { store, backlog } = options;
  const answer = async (
    request: IncomingMessage,
    path: string,
    query: URLSearchParams,
    response: ServerResponse,
  ): Promise<void> => {
    switch (`${request.method} ${path}`) {
      case 'GET /v1/queue':
        return list(response, store, query.size === 0 ? { all: true } : selectionOf(query));
      case 'GET /v1/queue/status': {
        const status: QueueStatus = { lanes: backlog.lanes(), setAside: await store.setAside() };
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify(status));
        return;
      }
      case 'GET /v1/queue/audit':
        return audit(response, store, query);
      case 'POST /v1/queue/drain': {
        const ms = Number(query.get('ms'));
        response.setHeader('content-type', 'application/json');
        if (!(ms > 0)) {
          response.statusCode = 400;
          response.end(`${JSON.stringify({ code: 'LAYBY_REQUEST_INVALID', message: 'drain wants ?ms=' })}\n`);
          return;
        }
        response.end(`${JSON.stringify(await drain(Math.min(ms, DRAIN_MS)))}\n`);
        return;
      }
      case 'GET /metrics':
        response.end(await metrics());
        return;
      case 'GET /healthz':
        response.end('ok\n');
        return;
      default:
        if (await serveOperator(options, request, response, path, query)) return;
        response.writeHead(404, { 'content-type': 'application/json' });
        response.end(`${JSON.stringify({ code: 'LAYBY_NOT_FOUND', message: `nothing at ${path}` })}\n`);
    }
  };
  return createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://queue');
    answer(request, pathname, searchParams, response).catch((error) => {
      if (response.headersSent) {
        response.destroy();
        return;
      }
      const view = viewOf(error);
      response.writeHead(OURS.has(view.code) ? 500 : 400, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify(view)}\n`);
    });
  });
}
