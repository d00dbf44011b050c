// Which processes a long-running command ends with, beside a signal to itself. A signal to npm may end npm alone, or npm and the shell that it
// starts programs through: nobody would stop what runs on. So a command that npm started ends with npm, and one that the launcher
// (bin/layby.js) started ends with the launcher. Whatever started these may go: a shell, a terminal, an ssh session.

import { readFileSync } from 'node:fs';

/** A process, as /proc shows it. */
export interface Seen {
  parent: number;
  session: number;
  /** The name of the program, or the title that it gave itself. */
  name: string;
  args: string[];
  /** npm gives it to what it starts. */
  hasNpmCommand: boolean;
}

const read = (pid: number, file: string): string => readFileSync(`/proc/${pid}/${file}`, 'utf8');

/** undefined where there is no such process, or no /proc. */
export function lookAt(pid: number): Seen | undefined {
  try {
    const stat = read(pid, 'stat');
    // pid (name) state ppid pgrp session …; the name may have anything in it.
    const end = stat.lastIndexOf(')');
    const [, parent, , session] = stat.slice(end + 2).split(' ');
    return {
      parent: Number(parent),
      session: Number(session),
      name: stat.slice(stat.indexOf('(') + 1, end),
      args: read(pid, 'cmdline').split('\0'),
      hasNpmCommand: `\0${read(pid, 'environ')}`.includes('\0npm_command='),
    };
  } catch {
    return undefined;
  }
}

const isNpm = ({ name, hasNpmCommand }: Seen): boolean => name.startsWith('npm') || !hasNpmCommand;
/** What npm starts a script through; no shell that a person works in. */
const isShellOfNpm = ({ args }: Seen): boolean => args.includes('-c');

/** The pids from the parent up to npm, or to the launcher alone. Empty: this process ends with no other. */
export function endsWith(
  env: NodeJS.ProcessEnv,
  pid: number = process.pid,
  look: (pid: number) => Seen | undefined = lookAt,
): number[] {
  const self = look(pid);
  const parent = self?.parent ?? process.ppid;
  const launcher = env.LAYBY_LAUNCHED ? [parent] : [];
  if (!env.npm_command) return launcher;
  // Without /proc nothing above the parent can be seen.
  if (!self) return [parent];
  const path = [...launcher];
  for (let next: number = launcher.length > 0 ? (look(parent)?.parent ?? 0) : parent; ; ) {
    const seen = look(next);
    // Whoever gave it a session of its own wants it to outlive the one that it came from.
    if (!seen || seen.session !== self.session) return launcher;
    path.push(next);
    if (isNpm(seen)) return path;
    if (path.length > launcher.length + 1 || !isShellOfNpm(seen)) return launcher;
    next = seen.parent;
  }
}

/** Whether all of `pids` are still one above the other, the first the parent of this process. */
export function areThere(pids: readonly number[]): boolean {
  let child: number | undefined;
  for (const pid of pids) {
    const parent: number | undefined = child === undefined ? process.ppid : lookAt(child)?.parent;
    if (parent !== pid) return false;
    child = pid;
  }
  return true;
}
