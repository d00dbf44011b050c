// Unmodified S3 clients with their own retries, with a link, without one, and cut in the middle of an upload: under `s3` and `auto` they
// see S3; under the other receipts what they take for a success is stored.
// `node test/slow/s3-clients.test.ts --markdown` writes its tables of docs/clients.md.

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeScene, untilDirect } from '../e2e/scene.ts';
import { type BodyFile, bodyFile } from '../rig/clients/body-file.ts';
import { intoPage, type Table } from '../rig/clients/report.ts';
import type { Call, Result, S3App } from '../rig/clients/s3-app.ts';
import { S3_APPS } from '../rig/clients/s3-apps.ts';
import { rclone } from '../rig/clients/s3-programs.ts';
import { blackhole } from '../rig/faults/blackhole.ts';
import { rate } from '../rig/faults/rate.ts';
import { noGo } from '../rig/go.ts';
import { DEVICE, noRoad } from '../rig/namespaces.ts';
import { type S3Server, startS3 } from '../rig/s3.ts';
import { sentOn, untilSent } from '../rig/traffic.ts';

const BUCKET = 'dashcam';
const MIB = 1024 * 1024;
const RECEIPTS = ['s3', 'auto', 'redirect', 'accepted'] as const;
type Receipt = (typeof RECEIPTS)[number];

/** Mbit/s; slow enough that no upload is through before the cut. */
const NARROW = 40;
/** Before the cut, bytes. */
const MIDDLE = 3 * MIB;

t.setTimeout(1_800_000);

const tables: Table[] = [];
t.teardown(() => (t.passing() ? intoPage(tables) : undefined));

const failed = (result: Result): result is { error: string; status: number; words?: string } =>
  'error' in result;

const words = (result: Result): string =>
  failed(result) ? `✗ ${result.error}${result.status ? ` (${result.status})` : ''}` : '✓';

const journey = (at: string, small: BodyFile, large: BodyFile): Call[] => [
  { op: 'put', key: `${at}/small`, file: small.path, as: 'stream' },
  { op: 'upload', key: `${at}/large`, file: large.path },
  { op: 'head', key: `${at}/small` },
  { op: 'get', key: `${at}/small` },
  { op: 'get', key: `${at}/large` },
  { op: 'list', prefix: `${at}/` },
  { op: 'delete', key: `${at}/small` },
  { op: 'get', key: `${at}/small` },
];
const STEPS = [
  'put',
  'upload in parts',
  'head',
  'get',
  'get (large)',
  'list',
  'delete',
  'get what is deleted',
];

const slug = ({ name }: S3App): string => name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');

const arrived = async (t: Test, s3: S3Server, keys: string[], body: BodyFile): Promise<void> => {
  const objects = (await s3.objects()).filter(({ key }) => keys.includes(key));
  t.same(
    objects.map(({ key, sha256 }) => [key, sha256]),
    [...keys].sort().map((key) => [key, body.sha256]),
    `${keys.join(', ')} arrived`,
  );
};

t.test('S3 clients', { skip: noRoad }, async (t) => {
  let s3!: S3Server;
  const keys = { AWS_ACCESS_KEY_ID: 'LAYBYRIGKEYID0000000' };
  const scene = await makeScene(t, {
    outboundPort: 80,
    destinations: async (_, road) => {
      // The strict one, where it can be had.
      const server = noGo ? 'rclone' : 'versitygw';
      s3 = await startS3({ server, road, dir: join(t.testdirName, 's3'), buckets: [BUCKET] });
      return RECEIPTS.map((receipt) => ({
        name: receipt,
        url: s3.url,
        sign: true,
        store: { receipt, listings: 'pending' },
      }));
    },
    env: { ...keys, AWS_SECRET_ACCESS_KEY: 'layby/rig+secret/0123456789abcdefghijklm' },
  });
  t.teardown(() => s3.stop());
  const { road, layby, dir } = scene;
  await road.names(RECEIPTS.map((receipt) => `${receipt}.example`));
  const wrap = road.inVehicle([]);
  const only = process.argv.includes('--only') ? process.argv[process.argv.indexOf('--only') + 1]! : '';
  const apps = S3_APPS.filter(({ name }) => name.includes(only));
  for (const { name, skip } of apps) if (skip) t.comment(`skipped: ${name}: ${skip}`);
  const there = apps.filter(({ skip }) => !skip);
  const ask = (app: S3App, receipt: Receipt, calls: Call[]): Promise<Result[]> =>
    app.run({ url: `http://${receipt}.example`, bucket: BUCKET, retries: true, wrap }, calls);
  const small = await bodyFile(join(dir, 'small'), 2000);
  const large = await bodyFile(join(dir, 'large'), 17 * MIB);
  const online = new Map<S3App, Result[]>();
  const plain = (results: Result[], at: string): Result[] =>
    (JSON.parse(JSON.stringify(results).replaceAll(`${at}/`, '')) as (Result & { words?: string })[]).map(
      ({ words: _, ...rest }) => rest as Result,
    );

  await t.test('with a link they see S3', async (t) => {
    const rows: string[][] = [];
    for (const app of there) {
      const at = `online/${slug(app)}`;
      const results = await ask(app, 's3', journey(at, small, large));
      online.set(app, plain(results, at));
      t.same(results.slice(0, -1).filter(failed), [], `${app.name}: all is well`);
      t.match(results[3], { bytes: small.bytes, sha256: small.sha256 });
      t.match(results[4], { bytes: large.bytes, sha256: large.sha256 });
      t.ok(failed(results.at(-1)!), `${app.name}: deleted`);
      await arrived(t, s3, [`${at}/large`], large);
      rows.push([app.name, await app.version(), ...results.map(words)]);
    }
    tables.push({ name: 's3 online', head: ['client', 'version', ...STEPS], rows });
  });

  await t.test('without a link they see the same under `s3` and `auto`', async (t) => {
    const rows: string[][] = [];
    await layby.link('down');
    for (const app of there)
      for (const receipt of ['s3', 'auto'] as const) {
        const at = `down/${receipt}/${slug(app)}`;
        const started = performance.now();
        const results = await ask(app, receipt, journey(at, small, large));
        t.same(plain(results, at), online.get(app), `${app.name}, ${receipt}: as online`);
        t.comment(`${app.name}, ${receipt}: ${Math.round(performance.now() - started)} ms`);
        rows.push([app.name, `\`${receipt}\``, ...results.map(words)]);
      }
    await layby.link('auto');
    await untilDirect(layby);
    const uploaded = there.flatMap((app) => ['s3', 'auto'].map((at) => `down/${at}/${slug(app)}/large`));
    await arrived(t, s3, uploaded, large);
    tables.push({ name: 's3 down', head: ['client', 'receipt', ...STEPS], rows });
  });

  await t.test('without a link, under a receipt that is not S3, a success is stored', async (t) => {
    const rows: string[][] = [];
    const stored: string[] = [];
    await layby.link('down');
    for (const app of there) {
      const row = [app.name];
      for (const receipt of ['redirect', 'accepted'] as const) {
        const key = `other/${receipt}/${slug(app)}`;
        const started = performance.now();
        const results = await ask(app, receipt, [
          { op: 'put', key: `${key}/small`, file: small.path, as: 'stream' },
          { op: 'upload', key: `${key}/large`, file: large.path },
        ]);
        t.comment(`${app.name}, ${receipt}: ${Math.round(performance.now() - started)} ms`);
        const paths = (await layby.queue())
          .filter(({ state }) => state === 'stored')
          .map(({ url }) => new URL(url).pathname.slice(`/${BUCKET}/`.length))
          .filter((path) => path.startsWith(key));
        // rclone begins its whole copy anew when its client has failed: then it is stored as often.
        const times = paths.filter((path) => path === `${key}/small`).length;
        t.ok(
          times === 1 || (app === rclone && failed(results[0]!)),
          `${app.name}, ${receipt}: stored ${times} times`,
        );
        row.push(...results.map(words), `${times}`);
        stored.push(`${key}/small`);
      }
      rows.push(row);
    }
    await layby.link('auto');
    await untilDirect(layby);
    await arrived(t, s3, stored, small);
    const head = ['put', 'upload in parts', 'the put was stored'];
    tables.push({
      name: 's3 other',
      head: ['client', ...['redirect', 'accepted'].flatMap((of) => head.map((what) => `\`${of}\`: ${what}`))],
      rows,
    });
  });

  await t.test('cut in the middle of an upload they see S3', async (t) => {
    const body = await bodyFile(join(dir, 'cut'), 24 * MIB);
    const [narrow, cut] = [rate(road, { up: NARROW }), blackhole(road)];
    const rows: string[][] = [];
    for (const app of there) {
      const row = [app.name];
      for (const op of ['put', 'upload'] as const) {
        const key = `cut/${slug(app)}/${op}`;
        await narrow.inject();
        const carried = await sentOn(road, DEVICE);
        const started = performance.now();
        const call: Call = { op, key, file: body.path, as: 'stream' };
        const sending = ask(app, 's3', [call]);
        await untilSent(road, DEVICE, carried + MIDDLE);
        await cut.inject();
        const [seen] = await sending;
        t.comment(`${key}: ${Math.round(performance.now() - started)} ms`);
        t.notOk(failed(seen!), `${key}: ${words(seen!)} ${JSON.stringify(seen)}`);
        await narrow.clear();
        await cut.clear();
        await untilDirect(layby);
        await arrived(t, s3, [key], body);
        row.push(words(seen!));
      }
      rows.push(row);
    }
    tables.push({ name: 's3 cut', head: ['client', 'put', 'upload in parts'], rows });
  });
});
