// Encryption at rest: nothing that apps sent can be read from the disk without the key; a wrong key changes nothing.

import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { chmod, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import t from 'tap';
import { all, bodyOf, conformance, put } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import { rekeyStore } from '../../src/store/leveldb/rekey.ts';
import { readStoreKey } from '../../src/store/store-key.ts';
import { testdir } from '../rig/testdir.ts';

const KEY = randomBytes(32);
const OTHER = randomBytes(32);
const SMALL = { generationBytes: 1024 * 1024 };

t.test('an encrypted store is a store', async (t) =>
  conformance(t, (dir, isInFlight) => openStore(dir, { key: KEY, isInFlight })),
);

const filesWith = async (dir: string, text: string): Promise<string[]> => {
  const found: string[] = [];
  for (const file of await readdir(dir, { recursive: true, withFileTypes: true }))
    if (file.isFile() && (await readFile(join(file.parentPath, file.name))).includes(text))
      found.push(file.name);
  return found;
};

const fill = async (dir: string, key: Buffer | undefined) => {
  const store = await openStore(dir, { ...SMALL, key });
  const big = await put(store, `secret body ${'x'.repeat(900_000)}`, { url: 'http://a.example/secret-path' });
  const small = await put(store, 'secret body', { headers: ['x-secret-header', 'secret-value'] });
  await store.failed(small.id, 'secret-words of a server');
  await store.dead(big.id, 'secret-words');
  await store.close();
  return { big, small };
};

const SECRETS = ['secret body', 'secret-path', 'secret-header', 'secret-words'];

t.test('without the key nothing of bodies, URLs, headers and answers is on the disk', async (t) => {
  const plain = testdir(t, { a: {}, b: {} });
  await fill(join(plain, 'a'), undefined);
  for (const secret of SECRETS) t.not((await filesWith(join(plain, 'a'), secret)).length, 0, secret);
  const { big, small } = await fill(join(plain, 'b'), KEY);
  for (const secret of SECRETS) t.same(await filesWith(join(plain, 'b'), secret), [], secret);

  const store = await openStore(join(plain, 'b'), { key: KEY });
  t.same(store.report.damage, []);
  t.equal((await bodyOf(store, big)).subarray(0, 11).toString(), 'secret body');
  t.match(await store.get(small.id), { lastError: 'secret-words of a server', headers: small.headers });
  t.match(await all(store.audit({ url: 'secret-path' })), [{ kind: 'stored' }, { kind: 'dead' }]);
  await store.close();
});

t.test('a missing or a wrong key is a clear error, and changes nothing', async (t) => {
  const dir = testdir(t);
  const { small } = await fill(dir, KEY);
  await t.rejects(openStore(dir), { code: 'LAYBY_STORE_KEY_MISSING', remedy: /--store-key/ });
  await t.rejects(openStore(dir, { key: OTHER }), { code: 'LAYBY_STORE_KEY_WRONG', remedy: /fingerprint/ });
  const store = await openStore(dir, { key: KEY });
  t.equal((await bodyOf(store, small)).toString(), 'secret body');
  await store.close();
});

t.test('a store without encryption that is opened with a key encrypts what comes', async (t) => {
  const dir = testdir(t);
  const { small } = await fill(dir, undefined);
  const store = await openStore(dir, { key: KEY });
  t.same(store.report.damage, []);
  const later = await put(store, 'hidden body', { url: 'http://a.example/hidden-path' });
  await store.failed(later.id, 'hidden-words');
  t.equal((await bodyOf(store, small)).toString(), 'secret body', 'what was there is there');
  await store.close();
  for (const text of ['hidden body', 'hidden-path', 'hidden-words'])
    t.same(await filesWith(dir, text), [], text);
  await t.rejects(openStore(dir), { code: 'LAYBY_STORE_KEY_MISSING' });
  const again = await openStore(dir, { key: KEY });
  t.equal((await bodyOf(again, later)).toString(), 'hidden body');
  t.equal((await put(again, 'more')).seq, 4);
  await again.close();
});

t.test('rotation wraps the data keys anew and touches no body', async (t) => {
  const dir = testdir(t);
  const { big } = await fill(dir, KEY);
  const before = await readdir(join(dir, 'generations'), { recursive: true });
  const open = await openStore(dir, { key: KEY });
  await t.rejects(rekeyStore(dir, KEY, OTHER), { code: 'LAYBY_STORE_IN_USE' });
  await open.close();
  await t.rejects(rekeyStore(dir, OTHER, KEY), { code: 'LAYBY_STORE_KEY_WRONG' });
  t.ok((await rekeyStore(dir, KEY, OTHER)) >= 2);
  t.ok((await readdir(join(dir, 'generations'), { recursive: true })).length >= before.length);
  await t.rejects(openStore(dir, { key: KEY }), { code: 'LAYBY_STORE_KEY_WRONG' });
  const store = await openStore(dir, { ...SMALL, key: OTHER });
  t.same(store.report.damage, []);
  t.equal((await bodyOf(store, big)).length, big.bytes);
  await store.close();
});

t.test('rotation and the start of a queue exclude each other, at whatever moment they meet', async (t) => {
  // In memory where there is some: between fsyncs of a disk the two seldom meet.
  const dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'layby-rekey-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const tiny = { generationBytes: 64 * 1024 };
  const filled = await openStore(dir, { ...tiny, key: KEY });
  const entries = await Promise.all(Array.from({ length: 1000 }, () => put(filled, 'x')));
  // Long words make a large index: opening then takes its time between the keys and the index.
  await Promise.all(entries.map(({ id }) => filled.failed(id, 'y'.repeat(8000))));
  await filled.close();
  let [now, next] = [KEY, OTHER];
  const met = { opened: 0, rekeyed: 0 };
  for (let round = 0; round < 24; round++) {
    const open = () => openStore(dir, { ...tiny, key: now });
    const rekey = () => rekeyStore(dir, now, next);
    const later = async <T>(begin: () => Promise<T>): Promise<T> => {
      for (let turns = 10 * round; turns > 0; turns--) await setImmediate();
      return begin();
    };
    const [opened, rekeyed] = await Promise.allSettled(
      round % 2 === 0 ? [open(), later(rekey)] : [later(open), rekey()],
    );
    if (opened.status === 'fulfilled') {
      met.opened++;
      // In a generation of its own, whose data key is wrapped by what the store takes for the operator's key.
      entries.push(await put(opened.value, randomBytes(70_000)));
      await opened.value.close();
    } else t.match(opened.reason, { code: /LAYBY_STORE_(IN_USE|KEY_WRONG)/ });
    if (rekeyed.status === 'fulfilled') {
      met.rekeyed++;
      [now, next] = [next, now];
    } else t.match(rekeyed.reason, { code: 'LAYBY_STORE_IN_USE' });
  }
  t.ok(met.opened > 0 && met.rekeyed > 0, JSON.stringify(met));
  const store = await openStore(dir, { ...tiny, key: now });
  t.same(store.report.damage, []);
  for (const entry of entries) t.equal((await bodyOf(store, entry)).length, entry.bytes);
  await store.close();
});

t.test('the key goes with its generation', async (t) => {
  const dir = testdir(t);
  await fill(dir, KEY);
  const store = await openStore(dir, { ...SMALL, key: KEY });
  for (let i = 0; i < 6; i++) {
    const { id } = await put(store, randomBytes(700_000));
    await store.delivered(id, 'ok');
  }
  for await (const { id } of store.list()) await store.delivered(id, 'ok');
  await store.makeRoom(Number.MAX_SAFE_INTEGER);
  await store.close();
  const generations = (await readdir(join(dir, 'generations'))).sort();
  t.same((await readdir(join(dir, 'keys'))).sort(), [...generations, 'index']);
});

t.test('a flipped bit in the file of a key costs nothing, a lost one costs its generation', async (t) => {
  const dir = testdir(t);
  const { small } = await fill(dir, KEY);
  const [first] = (await readdir(join(dir, 'keys'))).sort();
  const path = join(dir, 'keys', first!);
  const bytes = await readFile(path);
  bytes[60]! ^= 1;
  await writeFile(path, bytes);
  const store = await openStore(dir, { key: KEY });
  t.equal((await bodyOf(store, small)).toString(), 'secret body');
  await store.close();
  await writeFile(path, 'nothing');
  const after = await openStore(dir, { key: KEY });
  t.match(await after.get(small.id), { state: 'quarantined' });
  await t.rejects(bodyOf(after, small), { code: 'LAYBY_ENTRY_DAMAGED' });
  await after.close();
});

t.test('a key comes from a file or a command, raw, in hex or in base64', async (t) => {
  const dir = testdir(t, {
    raw: KEY,
    hex: `${KEY.toString('hex')}\n`,
    base64: `${KEY.toString('base64')}\n`,
    short: 'abc',
  });
  for (const name of ['raw', 'hex', 'base64']) {
    t.ok((await readStoreKey(join(dir, name))).equals(KEY), name);
    t.ok((await readStoreKey(`exec:cat '${join(dir, name)}'`)).equals(KEY), `exec ${name}`);
  }
  await chmod(join(dir, 'short'), 0o600);
  for (const from of [join(dir, 'short'), join(dir, 'missing'), 'exec:exit 3'])
    await t.rejects(readStoreKey(from), { code: 'LAYBY_STORE_KEY_UNREADABLE', remedy: /openssl rand/ });
});
