// Policy from files and directories: reads them, and tells when what they say has changed. Whether a new policy comes into
// force is for the caller, who keeps the old one when the update is an error.

import { type FSWatcher, watch } from 'node:fs';
import { lstat, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve, sep } from 'node:path';
import { timerMs } from '../../platform/timer.ts';
import { LaybyError, messageOf } from '../../telemetry/error.ts';
import { type PolicyFile, parsePolicy } from '../parse.ts';
import type { Policy } from '../policy.ts';

const EXTENSIONS = /\.(ya?ml|json)$/;
// Kubernetes holds no larger object either (1.5 MiB); a log file named by mistake must not fill the memory.
const MAX_FILE_BYTES = 4 * 1024 * 1024;
// As many links as the Linux kernel follows.
const MAX_LINKS = 40;
// Long enough for an editor or a copy to finish, too short for a person to notice; ms.
const QUIET = 25;
// Under events that never stop, look at least this often; ms.
const LONGEST_WAIT = 500;
// Where the kernel grants no watch (inotify limits, some network file systems), look this often; ms.
const POLL = 2000;

const unreadable = (path: string, cause: unknown) =>
  new LaybyError('LAYBY_POLICY_UNREADABLE', `the policy in ${path} cannot be read: ${messageOf(cause)}`, {
    remedy: 'check the path and its permissions; what was in force before stays in force',
    cause,
  });

// Hidden files are left out, and with them editors' swap files and the `..data` and `..2026_07_01…` of a Kubernetes mount.
const isPolicyName = (name: string) => !name.startsWith('.') && EXTENSIONS.test(name);

/** The files that a path stands for: itself, or the policy files in it, sorted by name. */
const filesIn = async (path: string): Promise<string[]> => {
  if (!(await stat(path)).isDirectory()) return [path];
  const names = (await readdir(path)).filter(isPolicyName).sort();
  const files: string[] = [];
  for (const name of names) {
    const file = join(path, name);
    if ((await stat(file)).isFile()) files.push(file);
  }
  return files;
};

/**
 * The texts of policy files. A path may be a directory: then its *.yaml, *.yml and *.json, sorted, not those below it.
 * Rejects with LAYBY_POLICY_UNREADABLE.
 */
export const readPolicyFiles = async (paths: readonly string[]): Promise<PolicyFile[]> => {
  const files = new Map<string, PolicyFile>();
  for (const given of paths) {
    try {
      for (const path of await filesIn(given)) {
        if ((await stat(path)).size > MAX_FILE_BYTES)
          throw new Error(`${basename(path)} is larger than ${MAX_FILE_BYTES} bytes`);
        files.set(resolve(path), { path, text: await readFile(path, 'utf8') });
      }
    } catch (thrown) {
      throw unreadable(given, thrown);
    }
  }
  return [...files.values()];
};

/** What the files say now. */
export type PolicyUpdate =
  | { policy: Policy; error?: never }
  /** LAYBY_POLICY_INVALID (a PolicyError) or LAYBY_POLICY_UNREADABLE: keep the policy that is in force. */
  | { policy?: never; error: LaybyError };

const readUpdate = async (paths: readonly string[]): Promise<PolicyUpdate> => {
  try {
    return { policy: parsePolicy(await readPolicyFiles(paths)) };
  } catch (thrown) {
    return { error: thrown instanceof LaybyError ? thrown : unreadable(paths.join(', '), thrown) };
  }
};

/** What to watch: a directory and the names in it that matter (undefined: all), or a file (names: empty). */
type WatchPoints = Map<string, Set<string> | undefined>;

/**
 * Adds every place where a change could make `path` mean something else: each directory on its way, through every
 * symbolic link, up to the first part that does not exist. So it notices a link set to another target, a directory moved away
 * and another put in its place, and a file that comes back.
 */
const addWatchPoints = async (path: string, points: WatchPoints): Promise<void> => {
  let at: string = sep;
  let links = 0;
  const rest = resolve(path).split(sep);
  for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      at = dirname(at);
      continue;
    }
    if (!points.has(at)) points.set(at, new Set());
    points.get(at)?.add(name);
    const here = join(at, name);
    const status = await lstat(here).catch(() => undefined);
    if (!status) return;
    if (status.isSymbolicLink()) {
      if (++links > MAX_LINKS) return;
      const target = await readlink(here).catch(() => '');
      rest.unshift(...target.split(sep));
      if (isAbsolute(target)) at = sep;
    } else if (status.isDirectory()) {
      at = here;
    } else {
      // The file itself too: one mounted alone into a container changes without its directory knowing.
      points.set(here, new Set());
      return;
    }
  }
  points.set(at, undefined);
};

export interface PolicyWatch {
  /** Resolves when the watch is in place and the first look is done. */
  readonly ready: Promise<void>;
  close(): void;
}

/**
 * Calls back with what the files say: once at the start (unless that has the version `known`), then whenever it has changed.
 * Notices writes, renames over a file, swapped symbolic links (as Kubernetes mounts them), and what is deleted and
 * made again; answers some 30 ms after the last change. The same bytes written again are no change.
 */
export const watchPolicyFiles = (
  paths: readonly string[],
  onChange: (update: PolicyUpdate) => void,
  { known }: { known?: string } = {},
): PolicyWatch => {
  let watchers: FSWatcher[] = [];
  let timer: NodeJS.Timeout | undefined;
  let firstEventAt: number | undefined;
  let looking = false;
  let again = false;
  let closed = false;
  let last = known;

  const soon = (wait: number) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = undefined;
      void look();
    }, timerMs(wait));
  };
  const changed = () => {
    if (closed) return;
    const now = performance.now();
    firstEventAt ??= now;
    soon(Math.max(0, Math.min(QUIET, firstEventAt + LONGEST_WAIT - now)));
  };

  /** False where some of it cannot be watched. */
  const arm = async (): Promise<boolean> => {
    const points: WatchPoints = new Map();
    for (const path of paths) {
      await addWatchPoints(path, points);
      for (const file of await filesIn(path).catch(() => [])) await addWatchPoints(file, points);
    }
    if (closed) return true;
    let complete = true;
    const before = watchers;
    watchers = [];
    for (const [place, names] of points) {
      try {
        const watcher = watch(place, (_, name) => {
          if (!names?.size || name === null || names.has(name)) changed();
        });
        watcher.on('error', changed);
        watchers.push(watcher);
      } catch {
        complete = false;
      }
    }
    // All are made anew and only then the old ones go, since a path may by now be another inode.
    for (const watcher of before) watcher.close();
    return complete;
  };

  const look = async (): Promise<void> => {
    again = looking;
    if (looking) return;
    looking = true;
    firstEventAt = undefined;
    // The watch comes before the look: a change in between is then seen twice, not never.
    const complete = await arm();
    const update = await readUpdate(paths);
    looking = false;
    if (closed) return;
    if (again) changed();
    else if (!complete && timer === undefined) soon(POLL);
    const said = update.policy ? update.policy.version : update.error.message;
    if (said === last) return;
    last = said;
    onChange(update);
  };

  return {
    ready: look(),
    close() {
      closed = true;
      clearTimeout(timer);
      for (const watcher of watchers) watcher.close();
      watchers = [];
    },
  };
};
