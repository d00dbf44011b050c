// A table of LevelDB is looked at before LevelDB sees it. Whatever its bytes are, that ends in a word about it and never in an error,
// and what is got out of a damaged one is what was put in.

import { randomBytes } from 'node:crypto';
import { open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import t from 'tap';
import { salvage, tableProblem } from '../../src/store/leveldb/table.ts';
import { compact } from '../rig/compact.ts';
import { damage } from '../rig/damage.ts';
import { randomFrom } from '../rig/random.ts';
import { testdir } from '../rig/testdir.ts';

const SEED = Number(process.env.LAYBY_SEED ?? 1);
const PLACES = Number(process.env.LAYBY_PLACES ?? 500);
/** Where a table says where its blocks are. */
const END = 160;

const makeTable = async (dir: string, values: Map<string, Buffer>): Promise<string> => {
  const db = new Level<string, Buffer>(dir, { valueEncoding: 'buffer', compression: false });
  await db.open();
  await db.batch([...values].map(([key, value]) => ({ type: 'put', key, value })));
  await db.close();
  await compact(dir);
  return join(dir, (await readdir(dir)).find((name) => name.endsWith('.ldb'))!);
};

t.test('whatever the bytes of a table are, it is told in words what is wrong', async (t) => {
  const dir = testdir(t);
  const values = new Map<string, Buffer>();
  for (let i = 0; i < 40; i++) values.set(`k/${i}`, randomBytes(i === 7 ? 70_000 : (i % 4) * 1000));
  const table = await makeTable(join(dir, 'db'), values);
  const whole = await readFile(table);
  t.equal(await tableProblem(table), undefined);

  const damaged = join(dir, 'damaged.ldb');
  const wrong: string[] = [];
  const looks = async (how: string): Promise<boolean> => {
    try {
      const problem = await tableProblem(damaged);
      for await (const entries of salvage(damaged))
        for (const { key, value } of entries)
          if (!values.get(key.toString())?.equals(value)) wrong.push(`${how}: ${key} is another`);
      return problem !== undefined;
    } catch (cause) {
      wrong.push(`${how}: ${cause}`);
      return true;
    }
  };
  let found = 0;
  for (let place = 0; place < PLACES; place++) {
    const random = randomFrom(SEED * 1_000_003 + place);
    await writeFile(damaged, whole);
    const how = damage(damaged, random);
    if ((await readdir(dir)).includes('damaged.ldb') && (await looks(`place ${place}: ${how}`))) found++;
  }
  t.ok(found > PLACES / 10, `${found} of ${PLACES} were found`);
  await writeFile(damaged, whole);
  const file = await open(damaged, 'r+');
  for (let at = whole.length - END; at < whole.length; at++) {
    for (const byte of [0, 1, 3, 127, 128, 255]) {
      await file.write(Buffer.from([byte]), 0, 1, at);
      await looks(`${byte} at ${at} of ${whole.length}`);
    }
    await file.write(whole, at, 1, at);
  }
  await file.close();
  t.same(wrong, []);
});
