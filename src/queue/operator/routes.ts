// The operator's hands over the queue's admin listener: which path does what. The acts themselves: act.ts, edit.ts.

import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Policy } from '../../policy/policy.ts';
import { authorityOf, destinationServing, hostIn } from '../../policy/serves.ts';
import type { Budget } from '../../replay/budget.ts';
import type { Replay } from '../../replay/replay.ts';
import { type WhyState, why } from '../../replay/why.ts';
import type { Store, StoreEvent } from '../../store/store.ts';
import { withoutSecrets } from '../../telemetry/secrets.ts';
import type { AdminRequest } from '../../wire/admin-server.ts';
import { ANYTHING, FLAG, fieldsOf, listOf, PAIR, TEXT } from '../../wire/fields.ts';
import { readJson, sendJson } from '../../wire/http-server.ts';
import type { Backlog } from '../backlog.ts';
import { entryView } from '../entries-page.ts';
import type { FormerLanes } from '../former-lanes.ts';
import { actOn, drop, type Hand, retry, send } from './act.ts';
import { type EditRequest, editEntry } from './edit.ts';
import { move } from './move.ts';
import { checkSelection, known } from './select.ts';
import { wholeView } from './show.ts';

const BODY_BYTES = 4 * 1024 * 1024;

export interface OperatorOptions {
  store: Store;
  replay: Replay;
  backlog: Backlog;
  budget: Budget;
  former: Pick<FormerLanes, 'before'>;
  policy: () => Policy | undefined;
}

interface ActRequest extends Hand {
  select: unknown;
  /** The destination to move to. */
  to?: string;
  dryRun?: boolean;
}

const HAND = { by: TEXT, reason: TEXT };

/** false where the path is none of these. Errors: LAYBY_REQUEST_INVALID, LAYBY_ENTRY_UNKNOWN, and those of the acts. */
export async function serveOperator(
  options: OperatorOptions,
  { request, response, path, query, route: called }: AdminRequest,
): Promise<boolean> {
  const { store, replay, backlog, budget, policy } = options;
  const [, id, what] = /^\/v1\/queue\/entries\/([0-9a-f-]+)(?:\/([a-z]+))?$/i.exec(path) ?? [];
  const route = id === undefined ? called : `${request.method} entry ${what ?? ''}`;
  switch (route) {
    case 'GET entry ':
      sendJson(response, 200, wholeView(store, await known(store, id!), query.has('secrets')));
      return true;
    case 'GET entry body':
      await sendBody(store, id!, response);
      return true;
    case 'GET entry why':
      sendJson(response, 200, {
        id,
        why: why(await whyStateOf(options, id!.toLowerCase())).map(withoutSecrets),
      });
      return true;
    case 'POST entry edit': {
      const edit = fieldsOf<EditRequest>(await readJson(request, BODY_BYTES), {
        ...HAND,
        url: TEXT,
        headers: listOf(PAIR),
        removeHeaders: listOf(TEXT),
      });
      const { destination } = await known(store, id!);
      const edited = await backlog.holding(destination, () => editEntry(store, policy(), id!, edit));
      sendJson(response, 200, wholeView(store, edited, false));
      return true;
    }
    case 'GET /v1/queue/budget':
      sendJson(response, 200, budget.view());
      return true;
    case 'POST /v1/queue/retry':
    case 'POST /v1/queue/send':
    case 'POST /v1/queue/drop':
    case 'POST /v1/queue/move': {
      const asked = fieldsOf<ActRequest>(await readJson(request, BODY_BYTES), {
        ...HAND,
        select: ANYTHING,
        to: TEXT,
        dryRun: FLAG,
      });
      const { select, to, dryRun = false, ...hand } = asked;
      const acts = {
        retry: () => retry(store, backlog),
        drop: () => drop(store),
        send: () => send(replay),
        move: () => move(store, backlog, policy(), to),
      };
      const act = acts[path.slice('/v1/queue/'.length) as keyof typeof acts];
      const { first, ...tally } = await actOn(store, checkSelection(select), act(), hand, dryRun);
      sendJson(response, 200, { ...tally, dryRun, first: first.map((entry) => entryView(entry)) });
      return true;
    }
    default:
      return false;
  }
}

/** Each chunk is verified before it leaves; a damaged one breaks the answer off, so nobody takes a part for the whole. */
async function sendBody(store: Store, id: string, response: ServerResponse): Promise<void> {
  const entry = await known(store, id);
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    'content-length': entry.bytes,
    'cache-control': 'no-store',
  });
  await pipeline(store.read(entry), response);
}

async function whyStateOf({ store, replay, former, policy }: OperatorOptions, id: string): Promise<WhyState> {
  const entry = await store.get(id);
  let last: StoreEvent | undefined;
  for await (const event of store.audit({ id })) last = event;
  const lane = entry && replay.view(entry);
  const olderId = lane?.place?.olderId;
  const older = olderId === undefined ? undefined : await store.get(olderId);
  const oldest = entry && store.totals().get(entry.destination)?.oldest;
  const inForce = policy();
  const orphaned = entry && inForce && !inForce.destinations.some(({ name }) => name === entry.destination);
  const servedBy = orphaned ? destinationServing(inForce, hostIn(authorityOf(entry.url)))?.name : undefined;
  const elsewhere = entry?.state === 'stored' ? await former.before(entry) : undefined;
  return {
    id,
    now: Date.now(),
    ...(entry && { entry }),
    ...(last && { last }),
    ...(lane && { lane }),
    ...(older && { older }),
    ...(oldest && { oldest }),
    ...(orphaned && { orphaned: servedBy === undefined ? {} : { servedBy } }),
    ...(elsewhere && { elsewhere: { id: elsewhere.id, destination: elsewhere.destination } }),
  };
}
