// The queue as a program: requests of apps come in from the sidecars, entries go out through the egress listener.

import { join } from 'node:path';
import { Egress } from '../egress/egress.ts';
import { makeOwnerOnly } from '../platform/owner-only.ts';
import { StallWatch } from '../platform/stall-watch.ts';
import { loadLastGood, saveLastGood } from '../policy/last-good.ts';
import { Budget } from '../replay/budget.ts';
import { DeliveryLedgers } from '../replay/delivery-ledgers.ts';
import { Hurried } from '../replay/hurried.ts';
import { openStore } from '../store/leveldb/open.ts';
import { readStoreKey } from '../store/store-key.ts';
import { LaybyError } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { type Address, formatAddress, isLocal } from '../wire/address.ts';
import { serveHealth } from '../wire/health-server.ts';
import { listen } from '../wire/http.ts';
import { readLinkMemory } from '../wire/link-memory.ts';
import { PendingLanes } from '../wire/pending-lanes.ts';
import { linkMemoryFile, pendingLanesFile, SHARED_FILES, sharedDirOf } from '../wire/shared-dir.ts';
import { queueAdmin } from './admin.ts';
import { edgeTransport } from './control.ts';
import { DiskProof } from './disk-proof.ts';
import { DiskSpools } from './disk-spool.ts';
import { laneNamesIn } from './lane-names.ts';
import { queueMetrics } from './metrics.ts';
import { Orphans } from './orphans.ts';
import { QueueCore } from './queue-core.ts';
import { QueueHealth } from './queue-health.ts';
import { queueServer } from './server.ts';

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
  /** Where probes ask whether it works; default: nowhere but at `admin`. */
  health?: Address | undefined;
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

/** Below its data directory. */
const PROOF_FILE = 'disk-proof';
/** All that is in its data directory. */
const OWN_FILES = [
  ...[
    PROOF_FILE,
    'former-lanes.json',
    'link-usage.json',
    'policy.last-good.json',
    'send-now',
    'spool',
    'store',
  ],
];

/** Errors: LAYBY_STORE_IN_USE, LAYBY_STORE_NEWER, LAYBY_STORE_FAILED, LAYBY_STORE_KEY_MISSING, _WRONG, _UNREADABLE,
 *  LAYBY_ADDRESS_IN_USE, LAYBY_ADDRESS_EXPOSED. */
export async function startQueue(options: QueueOptions): Promise<Queue> {
  const { log } = options;
  // It asks nobody who he is, and gives away all that is stored.
  if (!isLocal(options.admin))
    throw new LaybyError(
      'LAYBY_ADDRESS_EXPOSED',
      `the queue's admin listener at ${formatAddress(options.admin)} can be reached from other machines`,
      {
        remedy:
          'name a Unix socket or an address on the loopback with --admin: only the control plane asks it',
      },
    );
  const stalls = new StallWatch();
  const health = new QueueHealth(stalls, new DiskProof(join(options.dir, PROOF_FILE), stalls));
  // From the start: opening a large store takes its time, and is no reason to be started again.
  const probed = options.health && (await serveHealth({ address: options.health, checks: health, log }));
  try {
    const queue = await open(options, stalls, health);
    return {
      close: async () => {
        probed?.server.close();
        probed?.server.closeAllConnections();
        await queue.close();
      },
    };
  } catch (error) {
    probed?.server.close();
    throw error;
  }
}

async function open(options: QueueOptions, stalls: StallWatch, health: QueueHealth): Promise<Queue> {
  const { log } = options;
  const shared = options.shared ?? sharedDirOf(options.dir);
  const exposed = [...makeOwnerOnly(options.dir, OWN_FILES), ...makeOwnerOnly(shared, SHARED_FILES)];
  if (exposed.length > 0) log.warn({ paths: exposed.slice(0, 10) }, 'other users may read stored requests');
  const { quota, reserve, storeKey } = options;
  const key = storeKey === undefined ? undefined : await readStoreKey(storeKey);
  // It is asked for what may be sent when replay is there.
  const ledgers = new DeliveryLedgers((destination) => core.replay.wake(destination));
  const isInFlight = (id: string): boolean => ledgers.isInFlight(id);
  const store = await openStore(join(options.dir, 'store'), {
    ...{ log, quota, reserve, key, isInFlight, stalls },
  });
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
  const metrics = queueMetrics(store, orphans, ledgers);
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

  const server = queueServer((request, response) => void intake.serve(request, response));
  const admin = queueAdmin({
    ...{ store, replay, budget, backlog, ledgers, former: core.former, policy: () => core.policy },
    ...{ metrics: metrics.text, drain: (ms) => replay.drain(ms), address: options.admin, log },
    health,
  });
  health.starting = 'the queue is being started';
  await listen(admin, options.admin);
  await core.start();
  await listen(server, options.listen);
  health.starting = undefined;
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
