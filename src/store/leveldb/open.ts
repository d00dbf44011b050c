// Opens a store: the format, the lock (LevelDB's own, of the index), the index or a new one in its place, the generations,
// what is to be recovered; then puts the parts together.

import { randomInt } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { LaybyError, messageOf } from '../../telemetry/error.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { Damage, Store, StoreEvent } from '../store.ts';
import { Catalog } from './catalog.ts';
import { EntryIndex, type Watermark } from './entry-index.ts';
import { directoryBytes, syncDirectory } from './generation.ts';
import { Generations } from './generations.ts';
import { GroupCommit } from './group-commit.ts';
import { isDamaged, isLocked, reasonOf, storeFailed } from './level-errors.ts';
import { LevelStore } from './leveldb-store.ts';
import { MemoryBudget } from './memory-budget.ts';
import { Reclaim } from './reclaim.ts';
import { Recovery } from './recovery.ts';
import { Space, type SpaceOptions } from './space.ts';

const VERSION = 1;
const GENERATION_BYTES = 256 * 1024 * 1024;
/** A small quota gets smaller generations: what is delivered gives disk back only by whole ones. */
const GENERATIONS_IN_QUOTA = 8;
const SMALLEST_GENERATION = 4 * 1024 * 1024;

export interface StoreOptions extends SpaceOptions {
  log?: Logger | undefined;
  /** Bytes after which a new generation is started; default 256 MiB. Tests make it small. */
  generationBytes?: number | undefined;
}

/** Opens the store in `dir`, or makes one. Errors: LAYBY_STORE_IN_USE (another process has it), LAYBY_STORE_NEWER (written by
 *  a newer Layby), LAYBY_STORE_FAILED (the disk). Damage is no error: it is in the report. */
export const openStore = async (dir: string, options: StoreOptions = {}): Promise<Store> => {
  const began = performance.now();
  try {
    return await assemble(dir, options, began);
  } catch (cause) {
    if (cause instanceof LaybyError) throw cause;
    throw storeFailed(`The store in ${dir} could not be opened`, cause);
  }
};

const assemble = async (dir: string, options: StoreOptions, began: number): Promise<Store> => {
  const { log, quota = Number.POSITIVE_INFINITY } = options;
  const fitting = Math.max(SMALLEST_GENERATION, quota / GENERATIONS_IN_QUOTA);
  const generationBytes = options.generationBytes ?? Math.min(GENERATION_BYTES, fitting);
  await checkFormat(dir);
  const damage: Damage[] = [];
  const { index, watermark } = await openIndex(dir, damage);
  const generationsDir = join(dir, 'generations');
  await mkdir(generationsDir, { recursive: true });
  const generations = new Generations(generationsDir, generationBytes);
  await generations.load();
  if (!watermark && generations.numbers.length > 0)
    damage.push({ reason: 'the index was missing or damaged; it was rebuilt from the generations' });

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
  const catalog = new Catalog(index, generations, tell);
  const recovery = new Recovery(catalog, watermark, damage);
  generations.lost = (number, reason) => recovery.lost(number, reason);
  const { abandoned, position } = await recovery.run();
  generations.lost = async (number, reason) => {
    log?.error({ number, reason }, 'a generation was set aside');
    await catalog.loseGeneration(number, reason);
  };
  await generations.resume(position);
  index.mark(position);
  await index.flushed();

  // 16 random bits tell the writers of this process from those of the ones before.
  let writers = randomInt(1, 2 ** 16) * 2 ** 32;
  const newWriter = (): number => ++writers;
  const budget = new MemoryBudget();
  const commits = new GroupCommit(generations, budget, position.seq + 1);
  const space = new Space(
    dir,
    options,
    async () => (await generations.bytes()) + (await directoryBytes(join(dir, 'index'))),
  );
  await space.refresh();
  generations.roomy = () => space.roomy;
  const reclaim = new Reclaim(catalog, commits, { generationBytes, newWriter, budget, log });
  let entries = 0;
  for (const lane of catalog.totals.totals().values()) entries += lane.entries + lane.dead + lane.quarantined;
  const report = { took: performance.now() - began, entries, abandoned, damage };
  const parts = { dir, catalog, commits, budget, space, reclaim, newWriter, listeners, log };
  const store = new LevelStore(parts, report);
  reclaim.check();
  return store;
};

const checkFormat = async (dir: string): Promise<void> => {
  await mkdir(dir, { recursive: true });
  const path = join(dir, 'format.json');
  const text = await readFile(path, 'utf8').catch((cause) => {
    if (cause.code === 'ENOENT') return undefined;
    throw cause;
  });
  if (text === undefined) {
    const handle = await open(`${path}.new`, 'w');
    try {
      await handle.writeFile(`${JSON.stringify({ version: VERSION })}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(`${path}.new`, path);
    await syncDirectory(dir);
    return;
  }
  const version = versionOf(text);
  if (version === undefined)
    throw new LaybyError('LAYBY_STORE_FAILED', `${path} is not readable as a store's format`, {
      remedy: `See that it holds {"version":${VERSION}}, or give another directory`,
    });
  if (version > VERSION)
    throw new LaybyError(
      'LAYBY_STORE_NEWER',
      `The store in ${dir} has format ${version}, this Layby knows ${VERSION}`,
      { remedy: 'Start the newer Layby again, and let it drain the store before you go back' },
    );
};

const versionOf = (text: string): number | undefined => {
  try {
    const { version } = JSON.parse(text) as { version?: unknown };
    return typeof version === 'number' ? version : undefined;
  } catch {
    return undefined;
  }
};

/** Without a watermark the index is new. A damaged one is set aside as it is. */
const openIndex = async (
  dir: string,
  damage: Damage[],
): Promise<{ index: EntryIndex; watermark: Watermark | undefined }> => {
  const path = join(dir, 'index');
  let index: EntryIndex | undefined;
  try {
    index = await EntryIndex.open(path);
    await index.verify();
    const watermark = await index.readWatermark();
    return { index, watermark };
  } catch (cause) {
    await index?.abandon();
    if (isLocked(cause))
      throw new LaybyError('LAYBY_STORE_IN_USE', `Another process has the store in ${dir} open`, {
        remedy: 'Stop it, or give this one a directory of its own',
        cause,
      });
    if (!isDamaged(cause)) throw cause;
    const aside = `index.damaged-${Date.now()}`;
    await rename(path, join(dir, aside));
    damage.push({ reason: `the index was damaged (${reasonOf(cause)}) and set aside as ${aside}` });
    return { index: await EntryIndex.open(path), watermark: undefined };
  }
};
