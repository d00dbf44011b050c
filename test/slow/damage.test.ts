// Law 2 against the disk: any file of a store is damaged at any place, and the store opens, never gives a wrong byte, and names
// what it has lost. What it cannot open is set aside, so nothing of it is deleted.

import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import t from 'tap';
import { all, put } from '../../src/store/conformance.ts';
import { openStore, type StoreOptions } from '../../src/store/leveldb/open.ts';
import type { Damage, Entry, Store } from '../../src/store/store.ts';
import { compact } from '../rig/compact.ts';
import { damage } from '../rig/damage.ts';
import { between, randomFrom } from '../rig/random.ts';

const SEED = Number(process.env.LAYBY_SEED ?? 1);
const PLACES = Number(process.env.LAYBY_PLACES ?? 1500);
const ONLY = process.env.LAYBY_ONLY;
/** A plain store and an encrypted one, each at all places. */
const STORES: StoreOptions[] = [
  { generationBytes: 512 * 1024 },
  { generationBytes: 512 * 1024, key: randomBytes(32) },
];

interface Expected {
  body: Buffer;
  seq: number;
  state: 'stored' | 'dead' | 'left';
}

interface Template {
  name: string;
  dir: string;
  entries: Map<string, Expected>;
  files: string[];
}

const scratch = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'layby-damage-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));
t.setTimeout(1_200_000);

const SIZES = [0, 300, 1024, 3000, 5000, 20_000, 70_000, 300_000];

const fill = async (store: Store, entries: Map<string, Expected>, count: number): Promise<void> => {
  for (let i = 0; i < count; i++) {
    const body = randomBytes(SIZES[i % SIZES.length]!);
    const { id, seq } = await put(store, body, { destination: `d${i % 3}` });
    entries.set(id, { body, seq, state: 'stored' });
    if (i % 5 === 1) {
      await store.delivered(id, 'ok');
      entries.get(id)!.state = 'left';
    } else if (i % 11 === 3) {
      await store.dead(id, 'refused');
      entries.get(id)!.state = 'dead';
    }
  }
};

const filesOf = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile() && !/^(?:LOCK|LOG|LOG\.old)$/.test(file.name))
    .map((file) => join(relative(dir, file.parentPath), file.name))
    .sort();

/** The mark is written a moment behind the commit. */
const untilMarked = async (dir: string, seq: number): Promise<void> => {
  while (!readFileSync(join(dir, 'high-water'), 'utf8').includes(`"seq":${seq},`)) await setImmediate();
};

const makeTemplates = async (options: StoreOptions): Promise<Template[]> => {
  const templates: Template[] = [];
  for (const name of ['closed', 'copied while open', 'reopened', 'settled']) {
    const dir = join(scratch, options.key ? `${name}, encrypted` : name);
    const entries = new Map<string, Expected>();
    let store = await openStore(join(scratch, 'growing'), options);
    await fill(store, entries, 40);
    if (name === 'reopened' || name === 'settled') {
      await store.close();
      store = await openStore(join(scratch, 'growing'), options);
      await fill(store, entries, 20);
    }
    if (name !== 'copied while open') await store.close();
    else await untilMarked(join(scratch, 'growing'), entries.size);
    cpSync(join(scratch, 'growing'), dir, { recursive: true });
    if (name === 'copied while open') await store.close();
    if (name === 'settled') {
      await compact(join(dir, 'index'));
      for (const generation of readdirSync(join(dir, 'generations')))
        await compact(join(dir, 'generations', generation));
    }
    rmSync(join(scratch, 'growing'), { recursive: true });
    templates.push({ name, dir, entries, files: filesOf(dir) });
  }
  return templates;
};

const readable = async (store: Store, entry: Entry, body: Buffer): Promise<string> => {
  const got: Buffer[] = [];
  try {
    for await (const piece of store.read(entry)) got.push(piece);
  } catch (cause) {
    const whole = Buffer.concat(got);
    if (!body.subarray(0, whole.length).equals(whole)) return 'WRONG BYTES before the damage was found';
    const { code } = cause as { code?: string };
    if (code !== 'LAYBY_ENTRY_DAMAGED') return `read failed with ${cause}`;
    const now = await store.get(entry.id);
    return now?.state === 'quarantined' && now.reason ? 'quarantined' : `damaged, and ${now?.state}`;
  }
  return Buffer.concat(got).equals(body) ? 'whole' : 'WRONG BYTES';
};

const names = (found: Damage[], id: string, seq: number): boolean =>
  found.some((one) => {
    if (one.id === id || one.seq === seq) return true;
    const [, from, to] = /entries from (\d+) to (\d+) are missing/.exec(one.reason) ?? [];
    return from !== undefined && Number(from) <= seq && seq <= Number(to);
  });

const violations = async (dir: string, { entries }: Template, options: StoreOptions): Promise<string[]> => {
  const wrong: string[] = [];
  const store = await openStore(dir, options);
  try {
    const found = store.report.damage;
    const there = new Map<string, Entry>();
    for (const entry of await all(store.list())) there.set(entry.id, entry);
    for (const [id, { body, seq, state }] of entries) {
      const entry = there.get(id);
      if (!entry) {
        if (state !== 'left' && !names(found, id, seq))
          wrong.push(`${seq} (${state}) vanished without a word`);
        if (await store.get(id)) wrong.push(`${seq} is found and not listed`);
        continue;
      }
      there.delete(id);
      if (state === 'left' && found.length === 0) wrong.push(`${seq} came back without a word`);
      if (entry.state === 'quarantined') {
        if (!entry.reason) wrong.push(`${seq} is quarantined without a reason`);
        continue;
      }
      if (state === 'dead' && entry.state !== 'dead' && found.length === 0)
        wrong.push(`${seq} was dead, and is ${entry.state}`);
      if (entry.seq !== seq) wrong.push(`${seq} has the number ${entry.seq}`);
      const outcome = await readable(store, entry, body);
      if (outcome !== 'whole' && outcome !== 'quarantined') wrong.push(`${seq}: ${outcome}`);
    }
    for (const { id, seq } of there.values()) wrong.push(`${seq} ${id} was never stored`);
    const next = await put(store, 'after the damage', { destination: 'next' });
    for (const { seq } of entries.values()) if (seq === next.seq) wrong.push(`number ${seq} was given again`);
    for (const { id } of await all(store.list({ state: 'stored', limit: 5 }))) {
      await store.delivered(id, 'ok');
      if (await store.get(id)) wrong.push(`${id} does not leave`);
    }
  } finally {
    await store.close();
  }
  const again = await openStore(dir, options);
  for (const { id, seq, reason } of again.report.damage) wrong.push(`reported twice: ${id} ${seq} ${reason}`);
  await again.close();
  return wrong;
};

for (const options of STORES) {
  const kind = options.key ? 'an encrypted' : 'a plain';
  t.test(
    `whatever of ${kind} store is damaged, no wrong byte is delivered and nothing vanishes without a word`,
    async (t) => {
      const templates = await makeTemplates(options);
      for (const { name, files } of templates) t.comment(`${name}: ${files.length} files`);
      const failures: string[] = [];
      let place = 0;
      const damaging = async (): Promise<void> => {
        while (place < PLACES) {
          const number = place++;
          if (ONLY !== undefined && number !== Number(ONLY)) continue;
          const random = randomFrom(SEED * 1_000_003 + number);
          const template = templates[between(random, [0, templates.length - 1])]!;
          const dir = join(scratch, `place-${number}`);
          cpSync(template.dir, dir, { recursive: true });
          const file = template.files[between(random, [0, template.files.length - 1])]!;
          const how = damage(join(dir, file), random);
          const wrong = await violations(dir, template, options).catch((cause) => [
            String(cause.stack ?? cause),
          ]);
          if (wrong.length > 0)
            failures.push(
              `place ${number} (${template.name}, ${file}: ${how}): ${wrong.slice(0, 4).join('; ')}`,
            );
          rmSync(dir, { recursive: true });
        }
      };
      await Promise.all([damaging(), damaging()]);
      t.same(failures, []);
      t.ok(place >= PLACES, `${place} places`);
    },
  );
}
