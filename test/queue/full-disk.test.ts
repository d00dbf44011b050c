// Law 8 end to end: a disk that is really full, under a real queue. No receipt is lost, replay goes on, and storing resumes by
// itself. Needs root, for a small tmpfs.

import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { DiskSpools } from '../../src/queue/disk-spool.ts';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

const mount = (dir: string, mib: number): boolean =>
  spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', dir]).status === 0;

const probe = join(testdir(t, { probe: {} }), 'probe');
const canMount = mount(probe, 1);
if (canMount) spawnSync('umount', [probe]);
const skip = canMount ? false : 'mounting a tmpfs needs root';

/** Takes every byte that is left. */
const fillDisk = async (path: string): Promise<void> => {
  const file = await open(path, 'a');
  try {
    for (let size = 1024 * 1024; size >= 512; )
      try {
        await file.write(Buffer.alloc(size));
      } catch {
        size /= 2;
      }
  } finally {
    await file.close();
  }
};

const withDisk = async (dir: string, mib: number, run: (disk: string) => Promise<void>) => {
  mount(dir, mib);
  try {
    await run(dir);
  } finally {
    spawnSync('umount', ['-l', dir]);
  }
};

t.test(
  'on a full disk no receipt is lost, replay goes on, and storing resumes by itself',
  { skip },
  async (t) =>
    withDisk(join(testdir(t, { disk: {} }), 'disk'), 160, async (disk) => {
      const use = await scene(join(disk, 'data'), [destinationOf('dashcam')], { reserve: 0 });
      const receipts = new Set<string>();
      const put = async (path: string) => {
        const { status, headers } = await use.put(path, randomBytes(700_000));
        if (status === 307) receipts.add(path);
        else
          t.match(
            `${status} ${headers['content-type']} ${headers['retry-after']}`,
            /^(507|503) application\/problem\+json \d+$/,
          );
        return status;
      };
      for (let i = 0; i < 30; i++) t.equal(await put(`/before/${i}`), 307);
      const ballast = join(disk, 'other');
      await fillDisk(ballast);
      const statuses: number[] = [];
      // What the store throws overboard to go on is not for new bodies.
      for (let i = 0; i < 20; i++) statuses.push(await put(`/full/${i}`));
      t.ok(statuses.includes(507), statuses.join(' '));

      use.link.up = true;
      await use.until(() => use.arrived.size >= receipts.size);
      for (const path of receipts) t.equal(use.arrived.get(path), 700_000);

      await unlink(ballast);
      for (let i = 0; (await put(`/after/${i}`)) !== 307; i++) {
        if (i > 100) throw new Error('storing did not resume');
        await pause(100); // as an app that was refused
      }
      await use.until(() => [...receipts].every((path) => use.arrived.has(path)));
      await use.stop();
    }),
);

t.test('a spool takes bodies again as soon as the disk has room', { skip }, async (t) =>
  withDisk(join(testdir(t, { disk: {} }), 'disk'), 64, async (disk) => {
    const spools = new DiskSpools({ dir: join(disk, 'spool'), reserve: 0, encrypted: false });
    const take = async (): Promise<number> => {
      const spool = spools.begin();
      try {
        await spool.write(randomBytes(2_000_000));
        let bytes = 0;
        for await (const piece of spool.read()) bytes += piece.length;
        return bytes;
      } finally {
        await spool.close();
      }
    };
    const ballast = join(disk, 'ballast');
    await fillDisk(ballast);
    await t.rejects(take(), { code: 'LAYBY_STORE_FULL' });
    await unlink(ballast);
    t.equal(await take(), 2_000_000);
  }),
);

t.test('a queue starts on a full disk, and drains it', { skip }, async (t) =>
  withDisk(join(testdir(t, { disk: {} }), 'disk'), 160, async (disk) => {
    const use = await scene(join(disk, 'data'), [destinationOf('dashcam')], { reserve: 0 });
    const receipts: string[] = [];
    for (let i = 0; i < 30; i++) {
      const { status } = await use.put(`/${i}`, randomBytes(700_000));
      if (status === 307) receipts.push(`/${i}`);
    }
    t.equal(receipts.length, 30);
    await fillDisk(join(disk, 'other'));
    await use.restart();
    use.link.up = true;
    await use.until(() => receipts.every((path) => use.arrived.has(path)));
    t.equal(use.arrived.size, 30);
    await use.stop();
  }),
);
