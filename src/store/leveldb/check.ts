// Looks through a store that nobody has open: every chunk of every entry. Without `repair` nothing in it is changed: what is opened
// is a copy of it in hard links, beside it. With `repair` it is the store itself, so what opening and reading mend or quarantine
// stays so.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, cp, mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { LaybyError } from '../../telemetry/error.ts';
import type { Damage, Entry, Store } from '../store.ts';
import { keepCopy } from './mend.ts';
import { openStore, type StoreOptions } from './open.ts';
import { listSetAside, type SetAside } from './set-aside.ts';
import { inUse, LOCK_FILE } from './store-lock.ts';

export interface Problem extends Damage {
  destination?: string;
}

export interface CheckReport {
  /** Entries in the store, and the body bytes of those that are whole. */
  entries: number;
  bytes: number;
  /** What is damaged or missing; empty: all is well. */
  problems: Problem[];
  /** What damage has left beside the store, now or before. */
  setAside: SetAside[];
}

export interface CheckOptions extends StoreOptions {
  /** Quarantine what is damaged and mend the index, instead of only telling. */
  repair?: boolean | undefined;
}

/** Of an encrypted store. */
const KEYS = 'keys';
/** What is larger is only there to take room. */
const SMALL = 1024 * 1024;

/** Errors: LAYBY_STORE_MISSING (there is none in `dir`), LAYBY_STORE_IN_USE, LAYBY_STORE_NEWER, LAYBY_STORE_FAILED. */
export const checkStore = async (
  dir: string,
  { repair, ...options }: CheckOptions = {},
): Promise<CheckReport> => {
  if (!existsSync(join(dir, 'index')) && !existsSync(join(dir, 'generations')))
    throw new LaybyError('LAYBY_STORE_MISSING', `There is no store in ${dir}`, {
      remedy: 'Name the data directory of layby up with --data',
    });
  if (repair) {
    const found = await lookThrough(await openStore(dir, options));
    return { ...found, setAside: await listSetAside(dir) };
  }
  const setAside = await listSetAside(dir); // before files get a second name in the copy
  const copy = `${dir}.check-${process.pid}`;
  await rm(copy, { recursive: true, force: true });
  try {
    await copyStore(dir, copy);
    // After the copying: one that has begun meanwhile has its lock before it changes anything.
    if (await isHeld(join(dir, LOCK_FILE))) throw inUse(dir);
    return { ...(await lookThrough(await openStore(copy, options))), setAside };
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
};

const lookThrough = async (store: Store): Promise<Omit<CheckReport, 'setAside'>> => {
  let entries = 0;
  let bytes = 0;
  const quarantined: Problem[] = [];
  try {
    for await (const entry of store.list()) {
      entries++;
      const { id, seq, destination, state } = entry;
      const reason = state === 'quarantined' ? entry.reason : await problemOf(store, entry);
      if (reason === undefined) bytes += entry.bytes;
      else quarantined.push({ id, seq, destination, reason });
    }
  } finally {
    await store.close();
  }
  const known = new Set(quarantined.map(({ id }) => id));
  const others = store.report.damage.filter(({ id }) => id === undefined || !known.has(id));
  return { entries, bytes, problems: [...others, ...quarantined] };
};

/** In words; undefined: the body is whole. */
const problemOf = async (store: Store, entry: Entry): Promise<string | undefined> => {
  const hash = createHash('sha256');
  try {
    for await (const piece of store.read(entry)) hash.update(piece);
  } catch (cause) {
    if (!(cause instanceof LaybyError) || cause.code !== 'LAYBY_ENTRY_DAMAGED') throw cause;
    return (await store.get(entry.id))?.reason ?? cause.message;
  }
  // Of a composed entry the sum is not that of its bytes; each of its chunks was found right.
  return entry.sha256.includes('-') || hash.digest('hex') === entry.sha256
    ? undefined
    : 'the SHA-256 of the body is another one';
};

/** The databases in hard links, which LevelDB never writes into; the small files beside them as copies. */
const copyStore = async (dir: string, copy: string): Promise<void> => {
  await mkdir(join(copy, 'generations'), { recursive: true });
  for (const file of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, file.name);
    if (file.isFile() && (await stat(path)).size <= SMALL) await copyFile(path, join(copy, file.name));
  }
  if (existsSync(join(dir, KEYS))) await cp(join(dir, KEYS), join(copy, KEYS), { recursive: true });
  const databases = (await readdir(join(dir, 'generations')).catch(() => [])).map((name) =>
    join('generations', name),
  );
  for (const name of ['index', ...databases])
    if (existsSync(join(dir, name))) await keepCopy(join(dir, name), join(copy, name));
};

/** Whether a process holds LevelDB's lock. Only Linux tells without taking it; elsewhere the answer is no. */
const isHeld = async (lock: string): Promise<boolean> => {
  const inode = await stat(lock).then(
    ({ ino }) => ino,
    () => undefined,
  );
  const locks = await readFile('/proc/locks', 'utf8').catch(() => '');
  return inode !== undefined && new RegExp(`POSIX .*:${inode} `).test(locks);
};
