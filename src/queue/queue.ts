// The queue as a program: requests of apps come in from the sidecars, entries go out through the egress listener.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { Egress } from '../egress/egress.ts';
import { LINK_KINDS, type Policy } from '../policy/policy.ts';
import type { LinkNature } from '../replay/allowed.ts';
import { Budget } from '../replay/budget.ts';
import { Hurried } from '../replay/hurried.ts';
import { Replay, TAKEN_OUT } from '../replay/replay.ts';
import type { LinkWord } from '../replay/why.ts';
import { openStore } from '../store/leveldb/open.ts';
import { readStoreKey } from '../store/store-key.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Address } from '../wire/address.ts';
import { listen } from '../wire/http.ts';
import { queueAdmin } from './admin.ts';
import { Backlog } from './backlog.ts';
import { Control } from './control.ts';
import { Expiry } from './expiry.ts';
import { FormerLanes } from './former-lanes.ts';
import { Intake } from './intake.ts';
import { queueMetrics } from './metrics.ts';
import { OneByOne } from './one-by-one.ts';
import { Orphans } from './orphans.ts';
import { Room } from './room.ts';
import { Spools } from './spool.ts';
import { Turns } from './turns.ts';

export interface QueueOptions {
  /** The store and the last policy are kept here. */
  dir: string;
  /** Where sidecars send requests. */
  listen: Address;
  /** For the control plane only. */
  admin: Address;
  /** The egress listener of the sidecar. */
  egress: Address;
  /** The control plane. */
  control: Address;
  /** Of the store, bytes on the disk; default none. */
  quota?: number | undefined;
  /** Bytes of the disk that the store leaves free; default 256 MiB or 5 %, the smaller. */
  reserve?: number | undefined;
  /** Of replay to all destinations together, bytes per second; default as fast as the way takes it. */
  replayRate?: number | undefined;
  /** Of the store's key: FILE or exec:COMMAND; default none, and what is stored is not encrypted. */
  storeKey?: string | undefined;
  log: Logger;
}

export interface Queue {
  close(): Promise<void>;
}

/** Longer than Envoy keeps an idle connection, so that it is Envoy that closes it and no request meets a closing one; ms. */
const KEEP_ALIVE_MS = 75_000;
/** Longer than the sidecar waits for an app's; ms. */
const HEAD_PATIENCE_MS = 30_000;
/** Envoy's own limit is 60 KiB. */
const HEADER_BYTES = 64 * 1024;

/** Errors: LAYBY_STORE_IN_USE, LAYBY_STORE_NEWER, LAYBY_STORE_KEY_MISSING, _WRONG, _UNREADABLE, LAYBY_ADDRESS_IN_USE. */
export async function startQueue(options: QueueOptions): Promise<Queue> {
  const { log } = options;
  const { quota, reserve, storeKey } = options;
  const key = storeKey === undefined ? undefined : await readStoreKey(storeKey);
  const store = await openStore(join(options.dir, 'store'), { log, quota, reserve, key });
  const { took, entries, abandoned, damage, setAside } = store.report;
  log.info({ took, entries, abandoned, damaged: damage.length }, 'store open');
  for (const found of damage) log.error(found, 'damage found in the store');
  if (setAside.copies > 0)
    log.warn(
      setAside,
      'copies of damaged files take room: see `layby store check`, then --discard-set-aside',
    );
  store.on('event', ({ kind, id, destination, bytes, detail }) => {
    log.info({ id, destination, bytes, ...(detail ? { detail } : {}) }, kind);
  });

  let policy: Policy | undefined;
  const links = new Map<string, LinkWord>();
  const orphans = new Orphans(store, log);
  const metrics = queueMetrics(store, orphans);
  const former = new FormerLanes({
    ...{ store, log, file: join(options.dir, 'former-lanes.json') },
    changed: (destination, some) => backlog.behind(destination, some),
    wake: (destination) => replay.wake(destination),
  });
  const backlog = new Backlog(store);
  backlog.former = (destination) => former.of(destination);
  backlog.successors = (lane) => former.successors(lane);
  const turns = new Turns();
  const egress = new Egress(options.egress);
  const budget = new Budget(join(options.dir, 'link-usage.json'), log);
  const hurried = new Hurried(join(options.dir, 'send-now'), log);
  let nature: LinkNature = { kind: undefined, interface: '', metered: false, roaming: false };
  const replay = new Replay({
    store,
    egress,
    log,
    rate: options.replayRate,
    onOutcome: (destination, reached) => backlog.outcome(destination, reached),
    onLeft: (destination) => backlog.left(destination),
    maySend: (entry) => turns.maySend(entry.destination, entry.orderKey) && former.maySend(entry),
    count: metrics.replayed,
    nature: () => nature,
    budget,
    hurried,
  });
  turns.onFree = (destination) => replay.wake(destination);
  store.on('event', ({ kind, destination, from }) => {
    // Also of a destination that nothing is replayed for now: its hold must end all the same.
    if (TAKEN_OUT.has(kind)) backlog.left(destination);
    else if (kind === 'retried') backlog.cameBack(destination);
    else if (kind === 'moved') backlog.moved(from ?? destination, destination);
  });
  const expiry = new Expiry(store, log);
  const intake = new Intake({
    store,
    room: new Room(store),
    spools: new Spools({ dir: join(options.dir, 'spool'), reserve, encrypted: key !== undefined }),
    backlog,
    turns,
    former,
    commits: new OneByOne(),
    egress,
    log,
    replay,
    policy: () => policy,
    linkUp: (destination) => links.get(destination)?.up ?? true,
    count: metrics.request,
  });
  const control = new Control({
    address: options.control,
    dir: options.dir,
    backlog,
    log,
    onPolicy: (next) => {
      policy = next;
      former.policy(next);
      orphans.policy(next);
      replay.policy(next);
      log.info({ version: next.version }, 'policy in force');
    },
    onLink: (destination, link) => {
      links.set(destination, link);
      replay.link(destination, link);
    },
    onNetwork: ({ kind, interface: name, metered, roaming }) => {
      nature = { kind: LINK_KINDS.find((known) => known === kind), interface: name, metered, roaming };
      replay.look();
    },
    onKnown: () => replay.start(),
  });

  const server = createServer(
    {
      // Uploads may last for hours; Envoy closes what is dead.
      requestTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: HEADER_BYTES,
      headersTimeout: HEAD_PATIENCE_MS,
      // A socket is read 64 KiB at a time: one such piece waits for each body, not two.
      highWaterMark: 16 * 1024,
      noDelay: true,
    },
    (request, response) => void intake.serve(request, response),
  );
  // Past its default of 2,000 fields Node would leave some away without a word; the size is the bound.
  server.maxHeadersCount = 0;
  // An app that asks first is told to go on when its body is read, and not before: what is refused is never sent.
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    request.once('resume', () => {
      if (!response.headersSent) response.writeContinue();
    });
    void intake.serve(request, response);
  });
  const admin = queueAdmin({
    ...{ store, replay, budget, backlog, former, policy: () => policy },
    ...{ metrics: metrics.text, drain: (ms) => replay.drain(ms) },
  });
  await listen(admin, options.admin);
  control.start();
  expiry.start();
  await listen(server, options.listen);
  return {
    async close() {
      control.close();
      server.close();
      server.closeAllConnections();
      admin.close();
      admin.closeAllConnections();
      await replay.stop();
      await budget.close();
      await hurried.close();
      await expiry.stop();
      former.close();
      await egress.close();
      await store.close();
    },
  };
}
