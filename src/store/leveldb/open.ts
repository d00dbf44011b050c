// Opens a store: the lock, the format, the index or a new one in its place, the generations,
// what is to be recovered; then puts the parts together.

import { randomInt } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { StallWatch } from '../../platform/stall-watch.ts';
import { LaybyError, messageOf } from '../../telemetry/error.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { Damage, InFlight, Store, StoreEvent } from '../store.ts';
import { BALLAST_BYTES, Ballast, freeBytes } from './ballast.ts';
import { type BootClock, bootClock } from './boot-clock.ts';
import { Catalog } from './catalog.ts';
import { directoryBytes, syncDirectory } from './directory.ts';
import { checkFormat } from './format.ts';
import { Generations } from './generations.ts';
import { GroupCommit } from './group-commit.ts';
import { HighWater, readMark } from './high-water.ts';
import { INDEX_KEY, KeyRing } from './key-ring.ts';
import { storeFailed } from './level-errors.ts';
import { LevelStore } from './leveldb-store.ts';
import { MemoryBudget } from './memory-budget.ts';
import { openIndex } from './open-index.ts';
import { Reclaim } from './reclaim.ts';
import { Recovery } from './recovery.ts';
import { totalSetAside } from './set-aside.ts';
import { Space, type SpaceOptions } from './space.ts';
import { StoreClock } from './store-clock.ts';
import { lockStore, type StoreLock } from './store-lock.ts';

/** The oldest one is on the disk until the last of it is sent: with 512 MiB that wait the disk holds 1.48 times what lives, and 1.62 with
 *  generations of 256 MiB. */
const GENERATION_BYTES = 192 * 1024 * 1024;
/** A small quota gets smaller generations: what is delivered gives disk back only by whole ones. */
const GENERATIONS_IN_QUOTA = 8;
const SMALLEST_GENERATION = 4 * 1024 * 1024;

export interface StoreOptions extends SpaceOptions {
  log?: Logger | undefined;
  /** Bytes after which a new generation is started; default 192 MiB. Tests make it small. */
  generationBytes?: number | undefined;
  /** The operator's key, 32 bytes: what comes in is encrypted. What was stored before stays as it is until it leaves. */
  key?: Buffer | undefined;
  /** Default: nothing is in flight. */
  isInFlight?: InFlight | undefined;
  /** Knows of reads and writes that hang. */
  stalls?: StallWatch | undefined;
  /** The machine's clocks; tests bring their own. */
  bootClock?: BootClock | undefined;
}

/** Opens the store in `dir`, or makes one. Errors: LAYBY_STORE_IN_USE (another process has it), LAYBY_STORE_NEWER (written by
 *  a newer Layby), LAYBY_STORE_KEY_MISSING, LAYBY_STORE_KEY_WRONG, LAYBY_STORE_FAILED (the disk). Damage is no error: it is in the report. */
export const openStore = async (dir: string, options: StoreOptions = {}): Promise<Store> => {
  const began = performance.now();
  let lock: StoreLock | undefined;
  try {
    lock = await lockOnAnyDisk(dir);
    return await assemble(dir, options, lock, began);
  } catch (cause) {
    await lock?.release();
    if (cause instanceof LaybyError) throw cause;
    throw storeFailed(`The store in ${dir} could not be opened`, cause);
  }
};

/** What LevelDB writes for a lock does not fit on a full disk before the ballast is gone; a lock that is held is seen before that. */
const lockOnAnyDisk = async (dir: string): Promise<StoreLock> => {
  try {
    return await lockStore(dir);
  } catch (cause) {
    if (cause instanceof LaybyError) throw cause;
    await new Ballast(dir).load();
    return await lockStore(dir);
  }
};

const assemble = async (
  dir: string,
  options: StoreOptions,
  lock: StoreLock,
  began: number,
): Promise<Store> => {
  const { log, quota = Number.POSITIVE_INFINITY } = options;
  const fitting = Math.max(SMALLEST_GENERATION, quota / GENERATIONS_IN_QUOTA);
  const generationBytes = options.generationBytes ?? Math.min(GENERATION_BYTES, fitting);
  const damage: Damage[] = [];
  await checkFormat(dir, damage);
  const mark = await readMark(dir);
  const clock = new StoreClock(options.bootClock ?? bootClock);
  const ballast = new Ballast(dir);
  await ballast.load();
  const ring = await KeyRing.open(dir, options.key);
  if (ring.active && !ring.cipher(INDEX_KEY)) await ring.create(INDEX_KEY);
  const { index, watermark, doubtful } = await openIndex(dir, clock, mark, damage, ring.cipher(INDEX_KEY));
  if (watermark?.time) clock.found(watermark.time);
  const generationsDir = join(dir, 'generations');
  await mkdir(generationsDir, { recursive: true });
  await syncDirectory(dir);
  const generations = new Generations(generationsDir, generationBytes, ring);
  await generations.load();

  const listeners = new Set<(event: StoreEvent) => void>();
  const tell = (event: StoreEvent): void => {
    for (const listener of listeners) {
      try {
        listener(event);
      } catch (cause) {
        log?.error({ reason: messageOf(cause) }, 'a listener of the store failed');
      }
    }
  };
  const catalog = new Catalog(index, generations, clock, tell, options.isInFlight ?? (() => false));
  const recovery = new Recovery(catalog, { watermark, doubtful }, mark, damage);
  generations.lost = (number, reason) => recovery.lost(number, reason);
  const mended = new Set<number>();
  generations.mended = (number, reason) => {
    mended.add(number);
    damage.push({ reason });
  };
  const { abandoned, position, unsorted } = await recovery.run();
  catalog.damaged = (found) => damage.push(found);
  for (const number of mended) await catalog.checkRecords(number);
  if (unsorted) await catalog.sortByResource();
  // What is found from here on is told at once: at the opening the report is all there is.
  const alarm = (found: Damage): void => {
    damage.push(found);
    log?.error(found, 'damage found in the store');
  };
  catalog.damaged = alarm;
  generations.mended = (number, reason) => {
    alarm({ reason });
    catalog.checkRecords(number).catch((cause) => alarm({ reason: messageOf(cause) }));
  };
  generations.lost = async (number, reason) => {
    alarm({ reason });
    await catalog.loseGeneration(number, reason);
  };
  await generations.resume(position);
  index.mark(position);
  await index.flushed();

  // 16 random bits tell the writers of this process from those of the ones before.
  let writers = randomInt(1, 2 ** 16) * 2 ** 32;
  const newWriter = (): number => ++writers;
  const budget = new MemoryBudget();
  const commits = new GroupCommit(generations, budget, clock, position.seq + 1);
  if (options.stalls) for (const part of [commits, generations, index]) part.stalls = options.stalls;
  const space = new Space(
    dir,
    options,
    async () => (await generations.bytes()) + (await directoryBytes(join(dir, 'index'))),
  );
  space.floor = () => ballast.owed;
  space.onRefreshed = (free) => ballast.tend(free);
  await space.refresh();
  index.mayReopen = async () =>
    (await freeBytes(dir)) > BALLAST_BYTES ||
    ((await ballast.drop()) && (await freeBytes(dir)) > BALLAST_BYTES / 2);
  generations.roomy = () => space.roomy;
  const elbow = (): number => space.elbow;
  const reclaim = new Reclaim(catalog, commits, { generationBytes, newWriter, budget, elbow, log });
  let entries = 0;
  for (const lane of catalog.totals.totals().values())
    entries += lane.entries + lane.dead + lane.staged + lane.quarantined;
  const report = {
    took: performance.now() - began,
    entries,
    abandoned,
    damage,
    setAside: await totalSetAside(dir),
  };
  const highWater = await HighWater.open(dir, mark);
  const parts = {
    dir,
    lock,
    ballast,
    catalog,
    commits,
    budget,
    space,
    reclaim,
    newWriter,
    listeners,
    log,
    highWater,
  };
  const store = new LevelStore(parts, report);
  reclaim.check();
  return store;
};
