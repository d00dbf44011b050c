// One line about the machine, since absolute figures mean nothing without it.

import { readFileSync, statfsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { cpus, tmpdir, totalmem } from 'node:os';

/** `ext4 on vda, 79 GB free`: of the mount with the longest path that `dir` begins with. */
function disk(dir: string): string {
  const free = statfsSync(dir);
  const gigabytes = `${Math.round((free.bavail * free.bsize) / 1e9)} GB free`;
  let best = { at: '', what: 'unknown disk' };
  try {
    // proc(5): ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [FIELDS…] - TYPE SOURCE …
    for (const line of readFileSync('/proc/self/mountinfo', 'utf8').trimEnd().split('\n')) {
      const [mount = '', source = ''] = line.split(' - ');
      const at = mount.split(' ')[4] ?? '';
      const [type, device = ''] = source.split(' ');
      const above = at === '/' || dir === at || dir.startsWith(`${at}/`);
      if (above && at.length >= best.at.length)
        best = { at, what: `${type} on ${device.replace(/^\/dev\//, '')}` };
    }
  } catch {
    // Not Linux.
  }
  return `${best.what}, ${gigabytes}`;
}

/** `parts`: names and versions of what else took part. */
export async function machine(dir: string | undefined, parts: Record<string, string>): Promise<string> {
  const cores = cpus();
  const versions = Object.entries({ Node: process.versions.node, ...parts }).map((part) => part.join(' '));
  return [
    `${cores.length} cores (${cores[0]?.model.trim() ?? 'unknown'}), ${Math.round(totalmem() / 1e9)} GB`,
    ...versions,
    `${process.platform} ${process.arch}`,
    disk(await realpath(dir ?? tmpdir())),
  ].join('; ');
}
