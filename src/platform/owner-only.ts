// What apps store has their credentials in it, so what Layby writes is for its own user alone: 0700 for directories, 0600 for files. The umask
// sees to what this process and its children make, LevelDB included; what an older version made is changed when it is opened.

import { chmodSync, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

/** For this process, and what it starts from now on. */
export function ownerOnlyUmask(): void {
  process.umask(0o077);
}

/** Takes the rights of group and others from everything below `dir` that is named by `names`, and from `dir` itself where nothing else is in it:
 *  a directory that is shared with something else is left as it is. No symbolic link is followed. Returns the paths that could not be
 *  changed, for a log; a name that is missing is none of them. */
export function makeOwnerOnly(dir: string, names: readonly string[]): string[] {
  const failed: string[] = [];
  let found: string[];
  try {
    found = readdirSync(dir);
  } catch {
    return failed;
  }
  // Of a file that is replaced there may be a draft.
  const own = found.filter((name) => names.includes(name.replace(/\.tmp$/, '')));
  // Once nobody else can enter it, nobody else meets the files behind it before they are changed.
  if (own.length === found.length) change(dir, failed);
  for (const name of own) changeAll(join(dir, name), failed);
  return failed;
}

function changeAll(path: string, failed: string[]): void {
  if (!change(path, failed)) return;
  let names: string[] = [];
  try {
    names = readdirSync(path);
  } catch {
    failed.push(path);
  }
  for (const name of names) changeAll(join(path, name), failed);
}

/** Whether it is a directory. What is neither that nor a file (a socket, a link) is let be. */
function change(path: string, failed: string[]): boolean {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (!stats || !(stats.isDirectory() || stats.isFile())) return false;
  const mode = stats.isDirectory() ? DIRECTORY_MODE : FILE_MODE;
  try {
    if ((stats.mode & 0o7777) !== mode) chmodSync(path, mode);
  } catch {
    failed.push(path);
  }
  return stats.isDirectory();
}
