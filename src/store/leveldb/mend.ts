// A LevelDB that may be damaged: a copy of its files is kept (hard links: it costs no bytes, and LevelDB never writes into an old
// file) while it is opened, since opening deletes what a damaged MANIFEST does not name; and LevelDB's own repair, which reads
// all tables and logs and makes a new MANIFEST. What comes out of it is trusted no more than anything else: our checksums tell.

import { link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { tablesInUse } from './manifest.ts';
import { salvage, tableProblem } from './table.ts';

const FILES = /^(?:CURRENT|MANIFEST-\d+|\d+\.(?:ldb|sst|log))$/;
/** At the end of each whole table. */
const MAGIC = Buffer.from('57fb808b247547db', 'hex');

/** Makes `copy` with the files of `dir` in it; what stood there is replaced. */
export const keepCopy = async (dir: string, copy: string): Promise<void> => {
  await rm(copy, { recursive: true, force: true });
  await mkdir(copy);
  for (const name of await readdir(dir)) if (FILES.test(name)) await link(join(dir, name), join(copy, name));
};

const isWhole = async (table: string): Promise<boolean> => {
  const file = await open(table, 'r');
  try {
    const { size } = await file.stat();
    const { buffer } = await file.read(
      Buffer.alloc(MAGIC.length),
      0,
      MAGIC.length,
      Math.max(0, size - MAGIC.length),
    );
    return buffer.equals(MAGIC);
  } finally {
    await file.close();
  }
};

/** Whole tables that are in `copy` and, since LevelDB has opened `dir`, not there any more. */
export const tablesGone = async (dir: string, copy: string): Promise<boolean> => {
  const there = new Set(await readdir(dir));
  for (const name of await readdir(copy))
    if (name.endsWith('.ldb') && !there.has(name) && (await isWhole(join(copy, name)))) return true;
  return false;
};

/** What LevelDB must not see, in words: it would end the process, or start from nothing. `checked` are paths of tables that have
 *  passed: they never change. */
export const badFiles = async (dir: string, checked: Set<string>): Promise<string[]> => {
  const bad: string[] = [];
  const names = await readdir(dir);
  const inUse = await tablesInUse(dir);
  for (const name of names) {
    const path = join(dir, name);
    if (!name.endsWith('.ldb') || checked.has(path)) continue;
    if (!inUse?.has(Number.parseInt(name, 10))) continue; // LevelDB never looks into it
    const problem = await tableProblem(path);
    if (problem === undefined) checked.add(path);
    else bad.push(`${name}: ${problem}`);
  }
  if (!names.some((name) => FILES.test(name)) || (await unborn(dir))) return bad;
  const current = names.includes('CURRENT') ? await readFile(join(dir, 'CURRENT'), 'latin1') : '';
  if (!/^MANIFEST-\d+\n$/.test(current) || !names.includes(current.trimEnd()))
    bad.push('CURRENT names no MANIFEST that is there');
  return bad;
};

/** The last file number that LevelDB gives while it makes a database. */
const FIRST_LOG = 3;

/** Nothing was ever put into this LevelDB: it has its first files only, and no byte in the log. The power went, or the process,
 *  while it was being made, and LevelDB cannot open such a one: it does not sync its first MANIFEST. */
export const unborn = async (dir: string): Promise<boolean> => {
  for (const name of await readdir(dir)) {
    const number = Number(/\d+/.exec(name)?.[0] ?? 0);
    if (number > FIRST_LOG) return false;
    if (name.endsWith('.log') && (await stat(join(dir, name))).size > 0) return false;
  }
  return true;
};

/** Makes `dir` anew out of the files in `copy`: LevelDB repairs what it may see, and gets the rest key by key, but for the keys
 *  that `stale` names. */
export const repairFrom = async (
  copy: string,
  dir: string,
  stale: (key: Buffer) => boolean = () => false,
): Promise<void> => {
  const work = `${dir}.repair`;
  await keepCopy(copy, work);
  const bad: string[] = [];
  for (const name of await readdir(work))
    if (name.endsWith('.ldb') && (await tableProblem(join(work, name))) !== undefined) bad.push(name);
  for (const name of bad) await rm(join(work, name));
  // Of LevelDB, not of the universal interface that `level` is typed as.
  await (Level as unknown as { repair(dir: string): Promise<void> }).repair(work);
  const db = new Level<Buffer, Buffer>(work, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    compression: false,
  });
  await db.open();
  try {
    for (const name of bad)
      for await (const entries of salvage(join(copy, name))) {
        const puts = entries.filter(({ key, deleted }) => !deleted && !stale(key));
        const newer = await db.getMany(puts.map(({ key }) => key));
        await db.batch(
          puts
            .filter((_, i) => newer[i] === undefined)
            .map(({ key, value }) => ({ type: 'put' as const, key, value })),
          { sync: true } as object,
        );
      }
  } finally {
    await db.close();
  }
  await rm(dir, { recursive: true, force: true });
  await rename(work, dir);
};
