// The disk that loses what was not synced: what it must keep it keeps, and what it may lose it loses at some cut.

import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Disk, type Rule } from './power-cut/disk.ts';
import { record } from './power-cut/recording.ts';
import { randomFrom } from './random.ts';
import { noStrace } from './strace.ts';
import { testdir } from './testdir.ts';

/** `synced` with its name, `unnamed` without, `unsynced` not at all; `renamed` over `target`; then the end. */
const PROGRAM = `
const { closeSync, fsyncSync, mkdirSync, openSync, renameSync, writeSync } = require('node:fs');
const dir = process.argv[1];
const write = (name, bytes, sync) => {
  const fd = openSync(dir + '/' + name, 'w');
  writeSync(fd, bytes);
  if (sync) fsyncSync(fd);
  closeSync(fd);
};
const syncDir = () => { const fd = openSync(dir, 'r'); fsyncSync(fd); closeSync(fd); };
write('synced', Buffer.from(Array.from({ length: 256 }, (_, i) => i)), true);
write('target', 'old', true);
syncDir();
write('unsynced', Buffer.alloc(20000, 7), false);
write('unnamed', 'x'.repeat(5000), true);
writeSync(1, 'one\\n');
write('renamed', 'new', true);
renameSync(dir + '/renamed', dir + '/target');
writeSync(1, 'two\\n');
`;

t.test(
  'a cut keeps what was synced, and loses of the rest what the rule allows',
  { skip: noStrace },
  async (t) => {
    const scratch = realpathSync(testdir(t));
    const dir = join(scratch, 'disk');
    mkdirSync(dir);
    const command = [process.execPath, '-e', PROGRAM, dir];
    const recording = await record(dir, command, join(scratch, 'trace'));
    t.same(
      recording.said.map(({ line }) => line),
      ['one', 'two'],
    );
    const disk = new Disk(recording, undefined);
    const outcomes = (line: number, rule: Rule): { names: string[]; read: (name: string) => string }[] =>
      Array.from({ length: 60 }, (_, seed) => {
        const left = join(scratch, `left-${rule}`);
        rmSync(left, { recursive: true, force: true });
        disk.leave(left, line, rule, randomFrom(seed));
        const files = new Map(
          readdirSync(left).map((name) => [name, readFileSync(join(left, name), 'latin1')]),
        );
        return { names: [...files.keys()], read: (name) => files.get(name) ?? '' };
      });
    const [one, two] = recording.said.map(({ entered }) => entered) as [number, number];
    const whole = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i));
    for (const rule of ['ext4', 'strict'] as const) {
      const cuts = outcomes(one, rule);
      t.ok(
        cuts.every(({ read }) => read('synced') === whole && read('target') === 'old'),
        `${rule}: synced is kept`,
      );
      const sizes = new Set(cuts.map(({ read }) => read('unsynced').length));
      t.ok(sizes.has(0) && sizes.has(20_000) && sizes.size > 3, `${rule}: unsynced bytes are lost and torn`);
      t.ok(
        cuts.some(({ read }) => /^\0+$/.test(read('unsynced'))),
        `${rule}: or only the length is kept`,
      );
      const named = cuts.filter(({ names }) => names.includes('unnamed'));
      t.ok(named.every(({ read }) => read('unnamed') === 'x'.repeat(5000)));
      if (rule === 'ext4') t.equal(named.length, cuts.length, 'an fsync keeps the name of a new file');
      else
        t.ok(named.length > 0 && named.length < cuts.length, 'only an fsync of the directory keeps a name');
      const targets = new Set(outcomes(two, rule).map(({ read }) => read('target')));
      t.same([...targets].sort(), ['new', 'old'], `${rule}: a rename is done or not`);
    }
    t.notOk(existsSync(join(dir, 'renamed')));
  },
);
