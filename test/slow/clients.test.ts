// Unmodified clients, with a link, without one, and cut in the middle of the body, under each receipt: what the app sees, that nothing
// hangs, and that one request is one entry and one arrival, byte for byte, whatever the client makes of the receipt.
// `node test/slow/clients.test.ts --markdown` writes the tables of docs/clients.md.

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeScene, type Scene, untilDirect } from '../e2e/scene.ts';
import { type BodyFile, bodyFile } from '../rig/clients/body-file.ts';
import { intoPage, type Table } from '../rig/clients/report.ts';
import { HUNG, type On307, type Seen, type Uploader, upload } from '../rig/clients/uploads/uploader.ts';
import { UPLOADERS } from '../rig/clients/uploads/uploaders.ts';
import { blackhole } from '../rig/faults/blackhole.ts';
import { rate } from '../rig/faults/rate.ts';
import { DEVICE, noRoad } from '../rig/namespaces.ts';
import { sentOn, untilSent } from '../rig/traffic.ts';

/** `--only TEXT|TEXT`, for one who works on a client: those with such a text in their names. */
const ONLY = process.argv.includes('--only') ? process.argv[process.argv.indexOf('--only') + 1]! : '';

const MIB = 1024 * 1024;
const RECEIPTS = ['redirect', 'accepted', 's3'] as const;
type Receipt = (typeof RECEIPTS)[number];

/** A lost link is seen within 4 s; the rest is the client's start on a busy machine. */
const BOUND_MS = 30_000;
const ATTEMPTS = 4;
/** Slow enough that no body is through before the cut, Mbit/s; with a short queue (ms), since a silent loss is seen 3 s after the first
 *  retransmission, and that waits for what the queue adds to the round trip. */
const NARROW = { up: 40, latency: 50 };

t.setTimeout(1_800_000);

const tables: Table[] = [];
t.teardown(() => (t.passing() ? intoPage(tables) : undefined));

const words = ({ status, error }: Seen): string => (error === undefined ? `${status}` : `✗ ${error}`);

/** What an app must see of a stored request. */
const expected = (receipt: Receipt, on307: On307): Seen => {
  if (receipt === 'accepted') return { status: 202 };
  if (receipt === 's3' || on307 === 'follows') return { status: 200 };
  return on307 === 'fails' ? { error: '' } : { status: 307 };
};

const advice: Record<On307, string> = {
  follows: 'any; `accepted` spares the second upload',
  'hands it back': '`accepted`, or `redirect` where the app takes 307 for success',
  fails: '`accepted`',
};

const check = (t: Test, seen: Seen & { ms: number }, wanted: Seen, what: string): void => {
  const failed = wanted.error !== undefined && seen.error !== undefined && seen.error !== HUNG;
  t.ok(failed || (wanted.error === undefined && seen.status === wanted.status), `${what}: ${words(seen)}`);
  if (!failed && seen.status !== wanted.status) t.comment(seen.words);
  t.ok(seen.ms < BOUND_MS, `${what}: ended after ${Math.round(seen.ms)} ms`);
};

/** Each path has come once whole, byte for byte; what was torn by a cut does not count. */
const arrivedOnce = async (t: Test, { oracle }: Scene, paths: string[], body: BodyFile) => {
  const whole = (await oracle.requests()).filter(({ torn }) => !torn);
  for (const path of paths)
    t.same(
      whole.filter((arrival) => arrival.path === path).map(({ method, sha256 }) => [method, sha256]),
      [['PUT', body.sha256]],
      `${path} arrived once`,
    );
};

const storedOnce = async (t: Test, { layby }: Scene, paths: string[]) => {
  const urls = (await layby.queue()).map(({ url }) => new URL(url).pathname);
  t.same(urls.sort(), [...paths].sort(), 'one entry each');
};

const hostOf = (receipt: string): string => `${receipt}.example`;
const slug = ({ name }: Uploader): string => name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');

t.test('clients that send one file', { skip: noRoad }, async (t) => {
  const kinds = [...RECEIPTS, 'auto'] as const;
  const scene = await makeScene(t, {
    outboundPort: 80,
    destinations: ({ url }) => kinds.map((receipt) => ({ name: receipt, url, store: { receipt } })),
  });
  const { road, layby, oracle, dir, call } = scene;
  await road.names(kinds.map(hostOf));
  const clients = UPLOADERS.filter(({ name }) => ONLY.split('|').some((text) => name.includes(text)));
  for (const { name, skip } of clients) if (skip) t.comment(`skipped: ${name}: ${skip}`);
  const there = clients.filter(({ skip }) => !skip);
  const send = (client: Uploader, receipt: string, path: string, file: BodyFile) =>
    upload(client, { url: `http://${hostOf(receipt)}${path}`, file: file.path, road });

  await t.test('with a link they see the destination', async (t) => {
    const sizes = [await bodyFile(join(dir, 'small'), 2000), await bodyFile(join(dir, 'large'), 3 * MIB)];
    const rows: string[][] = [];
    for (const client of there) {
      const seen: (Seen & { ms: number })[] = [];
      for (const file of sizes) {
        const path = `/online/${slug(client)}/${file.bytes}`;
        seen.push(await send(client, 'redirect', path, file));
        check(t, seen.at(-1)!, { status: 200 }, `${client.name}, ${file.bytes} bytes`);
        await arrivedOnce(t, scene, [path], file);
      }
      rows.push([client.name, seen[0]!.version ?? '', ...seen.map(words)]);
    }
    t.same(await layby.queue(), [], 'nothing was stored');
    tables.push({ name: 'online', head: ['client', 'version', '2,000 bytes', '3 MiB'], rows });
  });

  await t.test('without a link they see the receipt, and are stored once', async (t) => {
    const file = await bodyFile(join(dir, 'down'), 2 * MIB);
    const rows: string[][] = [];
    const paths: string[] = [];
    await layby.link('down');
    for (const client of there) {
      const row = [client.name];
      for (const receipt of RECEIPTS) {
        const path = `/down/${slug(client)}/${receipt}`;
        paths.push(path);
        const before = await sentOn(road, 'lo');
        const seen = await send(client, receipt, path, file);
        const times = ((await sentOn(road, 'lo')) - before) / file.bytes;
        const wanted = expected(receipt, client.on307);
        check(t, seen, wanted, `${client.name}, ${receipt}`);
        // Where the client followed, the rest of the loopback's bytes says what it sent to the status page.
        const followed = receipt === 'redirect' && client.on307 === 'follows';
        if (!followed) t.ok(times < 1.5, `${client.name}, ${receipt}: the body went once, not ${times}`);
        row.push(
          words(seen) + (followed ? ` after ${times > 1.5 ? 'the whole' : 'an empty'} body again` : ''),
        );
      }
      rows.push([...row, advice[client.on307]]);
    }
    // `auto` is `redirect` to who does not speak S3.
    const some = there.slice(0, 2);
    for (const client of some) {
      paths.push(`/down/${slug(client)}/auto`);
      const seen = await send(client, 'auto', paths.at(-1)!, file);
      check(t, seen, expected('redirect', client.on307), `${client.name}, auto`);
    }
    await storedOnce(t, scene, paths);
    await layby.link('auto');
    await untilDirect(layby);
    await arrivedOnce(t, scene, paths, file);
    tables.push({ name: 'down', head: ['client', ...RECEIPTS, 'choose'], rows });
  });

  await t.test('cut in the middle of the body they see the receipt, and it arrives once', async (t) => {
    const file = await bodyFile(join(dir, 'cut'), 16 * MIB);
    const [narrow, cut] = [rate(road, NARROW), blackhole(road)];
    const lostInTheMiddle = () => layby.lines.filter((line) => line.includes('"lost in the middle"')).length;
    const rows: string[][] = [];
    /** A connection that is left over from an earlier cut breaks at its first use: here, and not under the next client. */
    const warm = async (): Promise<void> => {
      for (let lost = -1; lost !== lostInTheMiddle(); ) {
        lost = lostInTheMiddle();
        const urls = RECEIPTS.map((receipt) => `http://${hostOf(receipt)}/warm`);
        await Promise.all(urls.map((url) => call(url, { method: 'PUT', body: { file: file.path } })));
        await untilDirect(layby);
      }
    };
    /** Resolves with what the apps saw, or with nothing where a body was lost before the cut. Then too all must be well. */
    const cutOnce = async (client: Uploader, attempt: number): Promise<Seen[] | undefined> => {
      const paths = RECEIPTS.map((receipt) => `/cut/${slug(client)}/${attempt}/${receipt}`);
      await warm();
      await narrow.inject();
      const lost = lostInTheMiddle();
      const carried = await sentOn(road, DEVICE);
      const begun = paths.map((path) => oracle.begins((head) => head.path === path));
      const sending = RECEIPTS.map((receipt, i) => send(client, receipt, paths[i]!, file));
      await Promise.all(begun);
      await untilSent(road, DEVICE, carried + 3 * MIB);
      const early = lostInTheMiddle() > lost;
      await cut.inject();
      const all = await Promise.all(sending);
      await storedOnce(t, scene, paths);
      await narrow.clear();
      await cut.clear();
      for (const [i, receipt] of RECEIPTS.entries())
        check(t, all[i]!, expected(receipt, client.on307), `${client.name}, ${receipt}`);
      t.ok(lostInTheMiddle() - lost >= paths.length, `${client.name}: lost in the middle`);
      await untilDirect(layby);
      await arrivedOnce(t, scene, paths, file);
      t.comment(`${client.name}: ${all.map(({ ms }) => Math.round(ms))} ms${early ? ', too early' : ''}`);
      return early ? undefined : all;
    };
    for (const client of there) {
      let all: Seen[] | undefined;
      for (let attempt = 1; all === undefined && attempt <= ATTEMPTS; attempt++)
        all = await cutOnce(client, attempt);
      t.ok(all, `${client.name}: cut in the middle within ${ATTEMPTS} attempts`);
      if (all) rows.push([client.name, ...all.map(words)]);
    }
    tables.push({ name: 'cut', head: ['client', ...RECEIPTS], rows });
  });
});
