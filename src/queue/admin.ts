// The queue's own admin listener, for the control plane's; never reachable through a sidecar.

import type { Server, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { DeliveryLedgers } from '../replay/delivery-ledgers.ts';
import type { DrainReport } from '../replay/drain.ts';
import type { Store, StoreEvent } from '../store/store.ts';
import { LaybyError } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { withoutSecrets } from '../telemetry/secrets.ts';
import type { Address } from '../wire/address.ts';
import { type AdminRequest, adminServer } from '../wire/admin-server.ts';
import type { QueueStatus } from '../wire/edge-service.ts';
import { type HealthChecks, serveChecks } from '../wire/health-server.ts';
import { sendJson } from '../wire/http-server.ts';
import type { Backlog } from './backlog.ts';
import { entryView } from './entries-page.ts';
import { type OperatorOptions, serveOperator } from './operator/routes.ts';
import { type Selection, selected, selectionOf } from './operator/select.ts';
import { refusedViews } from './refused.ts';

/** The list is written piece by piece: a million entries need no more memory than one. */
async function list(
  response: ServerResponse,
  store: Store,
  selection: Selection,
  secrets: boolean,
): Promise<void> {
  response.setHeader('content-type', 'application/json');
  await pipeline(rows(store, selection, secrets), response);
}

async function* rows(store: Store, selection: Selection, secrets: boolean): AsyncGenerator<string> {
  let separator = '[';
  for await (const entry of selected(store, selection)) {
    yield separator + JSON.stringify(entryView(entry, secrets));
    separator = ',\n';
  }
  yield separator === '[' ? '[]\n' : ']\n';
}

/** Whoever asks waits for the answer: four minutes, since HTTP clients give up after five. */
const DRAIN_MS = 240_000;

/** Of one entry (`id`), or of all whose URL contains `url`; the newest lines where they are more than this. */
const AUDIT_LINES = 1_000;

const auditView = ({ at, ...event }: StoreEvent, secrets: boolean) => ({
  at: new Date(at).toISOString(),
  ...event,
  ...(!secrets && {
    ...(event.url !== undefined && { url: withoutSecrets(event.url) }),
    ...(event.detail !== undefined && { detail: withoutSecrets(event.detail) }),
  }),
});

async function audit(response: ServerResponse, store: Store, query: URLSearchParams): Promise<void> {
  const id = query.get('id') ?? undefined;
  const url = query.get('url') ?? undefined;
  if (!id && !url)
    throw new LaybyError('LAYBY_REQUEST_INVALID', 'neither an entry nor a URL is named', {
      remedy: 'add ?id=ID or ?url=PART',
    });
  const lines: StoreEvent[] = [];
  for await (const event of store.audit({ ...(id && { id }), ...(url && { url }) })) {
    lines.push(event);
    if (lines.length > AUDIT_LINES) lines.shift();
  }
  const secrets = query.has('secrets');
  sendJson(
    response,
    200,
    lines.map((event) => auditView(event, secrets)),
  );
}

export interface QueueAdminOptions extends OperatorOptions {
  address: Address;
  backlog: Backlog;
  ledgers: Pick<DeliveryLedgers, 'refused'>;
  health: HealthChecks;
  metrics: () => Promise<string>;
  drain: (ms: number) => Promise<DrainReport>;
  log: Logger;
}

export function queueAdmin({ address, health, metrics, drain, log, ...options }: QueueAdminOptions): Server {
  const { store, backlog, ledgers } = options;
  const answer = async (asked: AdminRequest): Promise<void> => {
    const { response, route, query } = asked;
    switch (route) {
      case 'GET /v1/queue': {
        const secrets = query.has('secrets');
        query.delete('secrets');
        return list(response, store, query.size === 0 ? { all: true } : selectionOf(query), secrets);
      }
      case 'GET /v1/queue/status': {
        const status: QueueStatus = {
          lanes: backlog.lanes(),
          setAside: await store.setAside(),
          refused: await refusedViews(store, ledgers.refused()),
        };
        sendJson(response, 200, status);
        return;
      }
      case 'GET /v1/queue/audit':
        return audit(response, store, query);
      case 'POST /v1/queue/drain': {
        const ms = Number(query.get('ms'));
        if (!(ms > 0))
          throw new LaybyError('LAYBY_REQUEST_INVALID', 'the time that draining may take is missing', {
            remedy: 'add ?ms=MILLISECONDS',
          });
        sendJson(response, 200, await drain(Math.min(ms, DRAIN_MS)));
        return;
      }
      case 'GET /metrics':
        response.end(await metrics());
        return;
      default:
        if (serveChecks(asked, health)) return;
        if (await serveOperator(options, asked)) return;
        throw new LaybyError('LAYBY_NOT_FOUND', `nothing answers ${route}`, {
          remedy: 'docs/cli.md has the paths of the admin listener',
        });
    }
  };
  return adminServer({ address, log }, answer);
}
