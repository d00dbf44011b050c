// Laws 1, 2 and 6 against the disk: whatever moment the power goes, and whatever part of the unsynced writes the disk kept, the
// store opens, and every entry with a receipt is there, whole.
//
// A run is recorded under strace with the bytes of all writes, cut at random lines, and each time the store is opened on what a
// disk could have left (test/rig/power-cut/disk.ts). Each recording goes on from what a cut of the one before left. The rule
// `ext4` is demanded, and `strict` too: without our own fsyncs of directories (log-names.ts, open.ts) each fifth cut fails there.
// To see that the test can fail: write the batches of generation.ts without SYNCED; then 23 of 24 cuts found lost entries.

import { cpSync, existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Disk, RULES, type Rule } from '../rig/power-cut/disk.ts';
import { broken, type Ledger, ledgerAt } from '../rig/power-cut/ledger.ts';
import { record } from '../rig/power-cut/recording.ts';
import { between, randomFrom } from '../rig/random.ts';
import { noStrace } from '../rig/strace.ts';

const SEED = Number(process.env.LAYBY_SEED ?? 1);
const CUTS = Number(process.env.LAYBY_CUTS ?? 1200);
const FIXTURE = new URL('../rig/power-cut/store-and-drain.ts', import.meta.url).pathname;

/** Small generations come and go; in large ones LevelDB turns over its logs (16 MiB). */
const RECORDINGS = [
  { generationBytes: 1024 * 1024, entries: 120, end: 'close' },
  { generationBytes: 6 * 1024 * 1024, entries: 150, end: 'kill' },
  { generationBytes: 64 * 1024 * 1024, entries: 150, end: 'kill' },
  { generationBytes: 300 * 1024, entries: 80, end: 'close' },
  { generationBytes: 64 * 1024 * 1024, entries: 150, end: 'close' },
  { generationBytes: 2 * 1024 * 1024, entries: 120, end: 'kill' },
];

// In memory where there is some: the model says what is lost, not the machine's own disk.
const scratch = realpathSync(mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'layby-cut-')));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));
t.setTimeout(1_200_000);

t.test(
  'after a power cut at any moment every entry with a receipt is there, whole',
  { skip: noStrace },
  async (t) => {
    let initial: string | undefined;
    let before: Ledger = new Map();
    let cuts = 0;
    const failures: string[] = [];
    for (const [round, { generationBytes, entries, end }] of RECORDINGS.entries()) {
      const dir = join(scratch, 'store');
      if (initial) cpSync(initial, dir, { recursive: true });
      const command = [process.execPath, FIXTURE, dir, String(generationBytes), String(entries), end];
      const began = performance.now();
      const recording = await record(dir, command, join(scratch, 'trace'));
      rmSync(join(scratch, 'trace'));
      rmSync(dir, { recursive: true });
      const disk = new Disk(recording, initial);
      const took = Math.round(performance.now() - began);
      t.comment(
        `recording ${round}: ${recording.calls.length} calls, ${recording.said.length} lines, ${took} ms`,
      );
      const share = Math.ceil((CUTS * (round + 1)) / RECORDINGS.length);
      const cutting = async (): Promise<void> => {
        while (cuts < share) {
          const cut = cuts++;
          const rule: Rule = RULES[cut % RULES.length]!;
          const random = randomFrom(SEED * 1_000_003 + cut);
          const line = disk.moment(random);
          const name = `cut ${cut} (recording ${round}, line ${line}, ${rule})`;
          const left = join(scratch, `cut-${cut}`);
          disk.leave(left, line, rule, random);
          const wrong = await broken(left, ledgerAt(recording.said, line, before), generationBytes);
          rmSync(left, { recursive: true });
          if (wrong.length > 0) failures.push(`${name}: ${wrong.slice(0, 5).join('; ')}`);
        }
      };
      await Promise.all([cutting(), cutting()]);
      t.comment(`${cuts} cuts, ${Math.round(performance.now() - began)} ms`);

      const random = randomFrom(SEED + round);
      const line = between(random, [Math.floor(recording.lines / 2), recording.lines]);
      if (initial) rmSync(initial, { recursive: true });
      initial = join(scratch, `initial-${round}`);
      disk.leave(initial, line, 'ext4', random);
      // What was neither promised nor taken back may or may not be there: it counts as under way in the next recording.
      before = ledgerAt(recording.said, line, before);
    }
    t.same(failures, []);
    t.ok(cuts >= CUTS, `${cuts} cuts`);
  },
);
