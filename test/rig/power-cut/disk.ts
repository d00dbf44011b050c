// A disk with a cache that loses what was not synced. Out of a recording it makes the directory that a power cut at a given
// moment could have left. What was fsynced is there; of the writes after that any part is: none, all, the first ones, single
// sectors, or only the new length with zeros. Names are kept by one of two rules:
//
// - `ext4`: names change in one order (the journal), and any fsync that has something to write commits all before it. XFS, Btrfs
//   and F2FS keep the name of a new file that is fsynced in the same way. A receipt must survive here.
// - `strict`: names change in order within one directory only, and nothing but an fsync of that directory keeps them. POSIX
//   promises no more than this (and not even the order within a directory, which LevelDB cannot do without).

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { between } from '../random.ts';
import type { DiskCall, Recording } from './recording.ts';

export type Rule = 'ext4' | 'strict';
export const RULES: readonly Rule[] = ['ext4', 'strict'];

/** A file has content, a directory has names. */
interface Inode {
  isDirectory: boolean;
  initial: Buffer;
  data: DataChange[];
  syncs: Span[];
  /** End of the file as the program sees it. */
  end: number;
}

interface Span {
  entered: number;
  returned: number;
}

type DataChange = Span & ({ bytes: Buffer; at: number } | { size: number });

interface NameChange extends Span {
  directory: Inode;
  name: string;
  /** undefined: the name goes. */
  inode: Inode | undefined;
  /** A rename is one change of two names. */
  from?: { directory: Inode; name: string };
}

type Names = Map<Inode, Map<string, Inode>>;

const SECTORS = [512, 4096];

const inodeOf = (isDirectory: boolean, initial = Buffer.alloc(0)): Inode => ({
  isDirectory,
  initial,
  data: [],
  syncs: [],
  end: initial.length,
});

export class Disk {
  readonly #root = inodeOf(true);
  /** As they were when the recording began. */
  readonly #names: Names = new Map();
  readonly #changes: NameChange[] = [];
  readonly #syncs: (Span & { inode: Inode })[] = [];
  readonly #recording: Recording;

  /** `initial`: a copy of the directory from before the recording, all of it durable; undefined: it was not there. */
  constructor(recording: Recording, initial: string | undefined) {
    this.#recording = recording;
    this.#names.set(this.#root, initial === undefined ? new Map() : this.#load(initial));
    const now: Names = new Map([...this.#names].map(([inode, names]) => [inode, new Map(names)]));
    for (const call of recording.calls) this.#take(call, now);
  }

  #load(dir: string): Map<string, Inode> {
    const names = new Map<string, Inode>();
    for (const file of readdirSync(dir, { withFileTypes: true })) {
      const path = join(dir, file.name);
      const inode = file.isDirectory() ? inodeOf(true) : inodeOf(false, readFileSync(path));
      if (file.isDirectory()) this.#names.set(inode, this.#load(path));
      names.set(file.name, inode);
    }
    return names;
  }

  #place(path: string, now: Names): { directory: Inode; name: string; inode: Inode | undefined } {
    let directory = this.#root;
    const parts = path.split('/');
    const name = parts.pop()!;
    for (const part of parts) directory = now.get(directory)!.get(part)!;
    return { directory, name, inode: name === '' ? this.#root : now.get(directory)!.get(name) };
  }

  #take(call: DiskCall, now: Names): void {
    const { entered, returned } = call;
    if (call.path === '' && call.kind !== 'sync') return; // the directory itself is there
    const { directory, name, inode } = this.#place(call.path, now);
    const change = (target: Omit<NameChange, keyof Span>): void => {
      this.#changes.push({ entered, returned, ...target });
      applyTo(now, target);
    };
    if (call.kind === 'create') {
      if (!inode) change({ directory, name, inode: inodeOf(false) });
      return;
    }
    if (call.kind === 'mkdir') {
      if (inode) return;
      const made = inodeOf(true);
      this.#names.set(made, new Map());
      now.set(made, new Map());
      change({ directory, name, inode: made });
      return;
    }
    if (call.kind === 'unlink' || call.kind === 'rmdir') {
      change({ directory, name, inode: undefined });
      return;
    }
    if (call.kind === 'rename' || call.kind === 'link') {
      const to = this.#place(call.to, now);
      const from = call.kind === 'rename' ? { from: { directory, name } } : {};
      change({ directory: to.directory, name: to.name, inode, ...from });
      return;
    }
    if (!inode) throw new Error(`${call.kind} of ${call.path}, which is not there`);
    if (call.kind === 'sync') {
      inode.syncs.push({ entered, returned });
      this.#syncs.push({ entered, returned, inode });
    } else if (call.kind === 'truncate') {
      if (inode.end === call.size) return;
      inode.data.push({ entered, returned, size: call.size });
      inode.end = call.size;
    } else if (call.kind === 'write') {
      const at = call.at ?? inode.end;
      inode.data.push({ entered, returned, at, bytes: call.bytes });
      inode.end = Math.max(inode.end, at + call.bytes.length);
    }
  }

  /** A line of the trace to cut at: anywhere, at a receipt, or where names change. */
  moment(random: () => number): number {
    const { said, lines } = this.#recording;
    const anywhere = between(random, [0, lines]);
    const kind = between(random, [0, 2]);
    if (kind === 1) return said[between(random, [0, said.length - 1])]?.entered ?? anywhere;
    const change = this.#changes[between(random, [0, this.#changes.length - 1])];
    return kind === 2 && change ? change.entered + between(random, [0, 8]) : anywhere;
  }

  /** Writes to `dir`, which must not exist, what a cut at `line` could have left. */
  leave(dir: string, line: number, rule: Rule, random: () => number): void {
    const names: Names = new Map([...this.#names].map(([inode, entries]) => [inode, new Map(entries)]));
    for (const change of this.#keptNames(line, rule, random)) applyTo(names, change);
    this.#write(dir, this.#root, names, line, random);
  }

  #keptNames(line: number, rule: Rule, random: () => number): NameChange[] {
    const begun = this.#changes.filter(({ entered }) => entered <= line);
    const done = this.#syncs.filter(({ returned }) => returned <= line);
    if (rule === 'ext4') {
      const barrier = done.reduce((last, sync) => (commits(sync) ? Math.max(last, sync.entered) : last), 0);
      const durable = begun.filter(({ returned }) => returned < barrier).length;
      return begun.slice(0, between(random, [durable, begun.length]));
    }
    const kept = new Set<NameChange>();
    for (const [directory, changes] of Map.groupBy(begun, (change) => change.directory)) {
      const barrier = done.reduce(
        (last, { inode, entered }) => (inode === directory ? Math.max(last, entered) : last),
        0,
      );
      const durable = changes.filter(({ returned }) => returned < barrier).length;
      for (const change of changes.slice(0, between(random, [durable, changes.length]))) kept.add(change);
    }
    return begun.filter((change) => kept.has(change));
  }

  #write(path: string, directory: Inode, names: Names, line: number, random: () => number): void {
    mkdirSync(path);
    for (const [name, inode] of names.get(directory)!) {
      if (inode.isDirectory) this.#write(join(path, name), inode, names, line, random);
      else writeFileSync(join(path, name), contentAt(inode, line, random));
    }
  }
}

const applyTo = (names: Names, { directory, name, inode, from }: Omit<NameChange, keyof Span>): void => {
  if (from) names.get(from.directory)!.delete(from.name);
  if (inode) names.get(directory)!.set(name, inode);
  else names.get(directory)!.delete(name);
};

/** Whether the journal has something to commit for it: an fsync of a file that did not change may return at once. */
const commits = ({ inode, entered }: Span & { inode: Inode }): boolean => {
  if (inode.isDirectory) return true;
  const before = inode.syncs.reduce(
    (last, sync) => (sync.entered < entered ? Math.max(last, sync.entered) : last),
    -1,
  );
  return inode.data.some((change) => change.returned < entered && change.returned > before);
};

const contentAt = (inode: Inode, line: number, random: () => number): Buffer => {
  const begun = inode.data.filter(({ entered }) => entered <= line);
  const barrier = inode.syncs.reduce(
    (last, sync) => (sync.returned <= line ? Math.max(last, sync.entered) : last),
    -1,
  );
  const durable = begun.filter(({ returned }) => returned < barrier);
  const pending = begun.filter(({ returned }) => returned >= barrier);
  const kept = [...durable, ...keptOf(pending, random)];
  const largest = kept.reduce((most, change) => Math.max(most, endOf(change)), inode.initial.length);
  const content = Buffer.alloc(largest);
  inode.initial.copy(content);
  let size = inode.initial.length;
  for (const change of kept) {
    if ('size' in change) {
      if (change.size < size) content.fill(0, change.size, size);
      size = change.size;
    } else {
      change.bytes.copy(content, change.at);
      size = Math.max(size, endOf(change));
    }
  }
  return content.subarray(0, size);
};

const endOf = (change: DataChange): number =>
  'size' in change ? change.size : change.at + change.bytes.length;

const keptOf = (pending: DataChange[], random: () => number): DataChange[] => {
  if (pending.length === 0) return [];
  const sector = SECTORS[between(random, [0, 1])]!;
  const way = between(random, [0, 4]);
  if (way === 0) return [];
  if (way === 1) return pending;
  if (way === 2) {
    // The first ones, and the last of them torn.
    const first = pending.slice(0, between(random, [1, pending.length]));
    const last = first.pop()!;
    if ('size' in last) return [...first, last];
    const whole = between(random, [0, Math.ceil(last.bytes.length / sector)]) * sector;
    return [...first, { ...last, bytes: last.bytes.subarray(0, whole) }];
  }
  if (way === 3) return pending.flatMap((change) => sectorsOf(change, sector).filter(() => random() < 0.5));
  return pending.map((change) =>
    'size' in change ? change : { ...change, bytes: Buffer.alloc(change.bytes.length) },
  );
};

/** Sectors of the disk, not of the write. */
const sectorsOf = (change: DataChange, sector: number): DataChange[] => {
  if ('size' in change) return [change];
  const parts: DataChange[] = [];
  const { bytes, at } = change;
  for (let from = 0; from < bytes.length; ) {
    const to = Math.min(bytes.length, from + sector - ((at + from) % sector));
    parts.push({ ...change, at: at + from, bytes: bytes.subarray(from, to) });
    from = to;
  }
  return parts;
};
