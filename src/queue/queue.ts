// The queue as a program: requests of apps come in from the sidecars, entries go out through the egress listener.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { Egress } from '../egress/egress.ts';
import { loadLastGood, saveLastGood } from '../policy/last-good.ts';
import { Budget } from '../replay/budget.ts';
import { DeliveryLedgers } from '../replay/delivery-ledgers.ts';
import { Hurried } from '../replay/hurried.ts';
import { openStore } from '../store/leveldb/open.ts';
import { readStoreKey } from '../store/store-key.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Address } from '../wire/address.ts';
import { listen } from '../wire/http.ts';
import { readLinkMemory } from '../wire/link-memory.ts';
import { PendingLanes } from '../wire/pending-lanes.ts';
import { linkMemoryFile, pendingLanesFile, sharedDirOf } from '../wire/shared-dir.ts';
import { queueAdmin } from './admin.ts';
import { edgeTransport } from './control.ts';
import { DiskSpools } from './disk-spool.ts';
import { laneNamesIn } from './lane-names.ts';
import { queueMetrics } from './metrics.ts';
import { Orphans } from './orphans.ts';
import { QueueCore } from './queue-core.ts';

export interface QueueOptions {
  /** The store and the last policy are kept here. */
  dir: string;
  /** What it and the control plane leave for each other over restarts; default: `shared`, beside `dir`. */
  shared?: string | undefined;
  /** How long receipts wait for a control plane that is away, so that no direct call overtakes what is stored; ms, default 10,000. */
  controlPatience?: number | undefined;
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

/** Errors: LAYBY_STORE_IN_USE, LAYBY_STORE_NEWER, LAYBY_STORE_FAILED, LAYBY_STORE_KEY_MISSING, _WRONG, _UNREADABLE,
 *  LAYBY_ADDRESS_IN_USE. */
export async function startQueue(options: QueueOptions): Promise<Queue> {
  const { log } = options;
  const { quota, reserve, storeKey } = options;
  const key = storeKey === undefined ? undefined : await readStoreKey(storeKey);
  // It is asked for what may be sent when replay is there.
  const ledgers = new DeliveryLedgers((destination) => core.replay.wake(destination));
  const isInFlight = (id: string): boolean => ledgers.isInFlight(id);
  const store = await openStore(join(options.dir, 'store'), { log, quota, reserve, key, isInFlight });
  ledgers.follow(store);
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

  const orphans = new Orphans(store, log);
  const metrics = queueMetrics(store, orphans);
  const shared = options.shared ?? sharedDirOf(options.dir);
  const budget = new Budget(join(options.dir, 'link-usage.json'), log);
  const core = new QueueCore({
    ...{ store, ledgers, budget, orphans, counters: metrics, log },
    laneNames: laneNamesIn(join(options.dir, 'former-lanes.json')),
    egress: new Egress(options.egress),
    spools: new DiskSpools({ dir: join(options.dir, 'spool'), reserve, encrypted: key !== undefined }),
    pendingLanes: new PendingLanes(pendingLanesFile(shared), (error) =>
      log.error({ err: error }, 'the file of pending lanes cannot be written'),
    ),
    controlPatience: options.controlPatience,
    hurried: new Hurried(join(options.dir, 'send-now'), log),
    transport: edgeTransport(options.control),
    lastGood: {
      load: () => loadLastGood(options.dir),
      save: (policy) => saveLastGood(options.dir, policy),
    },
    remembered: () => readLinkMemory(linkMemoryFile(shared)),
    replayRate: options.replayRate,
  });
  const { intake, replay, backlog } = core;

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
  // It is readBody that tells a client to go on: what is refused is never sent.
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    void intake.serve(request, response);
  });
  const admin = queueAdmin({
    ...{ store, replay, budget, backlog, former: core.former, policy: () => core.policy },
    ...{ metrics: metrics.text, drain: (ms) => replay.drain(ms) },
  });
  await listen(admin, options.admin);
  await core.start();
  await listen(server, options.listen);
  return {
    async close() {
      core.detach();
      server.close();
      server.closeAllConnections();
      admin.close();
      admin.closeAllConnections();
      await core.stop();
    },
  };
}
