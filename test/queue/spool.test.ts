import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DiskSpools } from '../../src/queue/disk-spool.ts';
import type { Spool } from '../../src/queue/spool.ts';
import { testdir } from '../rig/testdir.ts';

const write = async (spool: Spool, body: Buffer): Promise<void> => {
  for (let at = 0; at < body.length; at += 50_000) await spool.write(body.subarray(at, at + 50_000));
};

const contentOf = async (spool: Spool): Promise<Buffer> => {
  const pieces: Buffer[] = [];
  for await (const piece of spool.read()) pieces.push(piece);
  return Buffer.concat(pieces);
};

/** What this process has open of a directory: its files have no names any more. */
const openIn = (dir: string): string[] =>
  readdirSync('/proc/self/fd')
    .map((fd) => `/proc/self/fd/${fd}`)
    .filter((path) => {
      try {
        return readlinkSync(path).startsWith(dir);
      } catch {
        return false;
      }
    });

for (const encrypted of [false, true])
  t.test(`what was written is read, ${encrypted ? 'encrypted' : 'plain'}, at any moment`, async (t) => {
    const dir = join(testdir(t), 'spool');
    const spool = new DiskSpools({ dir, encrypted }).begin();
    const body = randomBytes(3_000_000);
    await write(spool, body.subarray(0, 1_111_111));
    t.ok((await contentOf(spool)).equals(body.subarray(0, 1_111_111)), 'in the middle');
    await write(spool, body.subarray(1_111_111));
    t.ok((await contentOf(spool)).equals(body), 'at the end');
    t.equal(spool.bytes, body.length);
    for (const start of [0, 1, 15, 16, 262_143, 262_145, 1_111_111, 2_999_999, 3_000_000]) {
      const pieces: Buffer[] = [];
      for await (const piece of spool.read({ start })) pieces.push(piece);
      t.ok(Buffer.concat(pieces).equals(body.subarray(start)), `from ${start}`);
    }
    t.same(readdirSync(dir), [], 'the file has no name: a crash leaves nothing');
    const [file] = openIn(dir);
    t.equal(readFileSync(file!).includes(body.subarray(0, 1000)), !encrypted, 'on the disk');
    await spool.close();
    t.same(openIn(dir), [], 'and is gone when it is closed');
  });

t.test(
  'a directory that cannot be made, or is removed, fails the bodies of that moment and no later one',
  async (t) => {
    const parent = join(testdir(t), 'queue');
    const spools = new DiskSpools({ dir: join(parent, 'spool'), encrypted: false });
    const body = randomBytes(2_000_000);
    const readBack = async (): Promise<boolean> => {
      const spool = spools.begin();
      try {
        await write(spool, body);
        return (await contentOf(spool)).equals(body);
      } finally {
        await spool.close();
      }
    };
    writeFileSync(parent, 'in the way of the directory');
    await t.rejects(readBack(), { code: 'LAYBY_STORE_FULL' });
    rmSync(parent);
    t.ok(await readBack(), 'made at the next body');
    rmSync(parent, { recursive: true });
    t.ok(await readBack(), 'made again');
  },
);

t.test('a small body never meets the disk', async (t) => {
  const dir = join(testdir(t), 'spool');
  const spool = new DiskSpools({ dir, encrypted: false }).begin();
  await write(spool, randomBytes(60_000));
  t.throws(() => readdirSync(dir), { code: 'ENOENT' });
  await spool.close();
});

t.test('a disk without room above the reserve is told when the body is wanted, and not before', async (t) => {
  const dir = join(testdir(t), 'spool');
  const spool = new DiskSpools({ dir, encrypted: false, reserve: Number.MAX_SAFE_INTEGER }).begin();
  await write(spool, randomBytes(1_000_000));
  await t.rejects(contentOf(spool), { code: 'LAYBY_STORE_FULL' });
  await spool.close();
});
