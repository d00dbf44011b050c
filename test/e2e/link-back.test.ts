// The link is back: what was stored arrives, whole, once, in its order, with a signature made anew where one is asked for.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { checkObjects } from '../rig/check-objects.ts';
import { check } from '../rig/checker.ts';
import { blackhole } from '../rig/faults/blackhole.ts';
import type { Fault } from '../rig/faults/fault.ts';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import { noGo } from '../rig/go.ts';
import type { AppRecord } from '../rig/load-plan.ts';
import { noRoad, type Road } from '../rig/namespaces.ts';
import type { Arrival } from '../rig/oracle-protocol.ts';
import { type S3Server, startS3 } from '../rig/s3.ts';
import { headersOf, makeScene, randomFile, untilDirect, untilDrained } from './scene.ts';

t.setTimeout(290_000);

/** An app that signs for itself, and signed long ago. */
const STALE = {
  authorization:
    'AWS4-HMAC-SHA256 Credential=OLD/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00',
  'x-amz-date': '20200101T000000Z',
  'x-amz-content-sha256': 'UNSIGNED-PAYLOAD',
};
const BUCKET = 'dashcam';

const cuts: Record<string, (road: Road) => Fault> = { blackhole, 'interface down': interfaceDown };

for (const [kind, cutOf] of Object.entries(cuts))
  t.test(
    `after a cut by ${kind} all entries arrive, each once and in its order`,
    { skip: noRoad },
    async (t) => {
      const servers: Record<string, S3Server> = {};
      const scene = await makeScene(t, {
        env: {
          AWS_ACCESS_KEY_ID: 'LAYBYRIGKEYID0000000',
          AWS_SECRET_ACCESS_KEY: 'layby/rig+secret/0123456789abcdefghijklm',
        },
        destinations: async (oracle, road) => {
          const s3 = async (server: 'rclone' | 'versitygw', port: number) => {
            servers[server] = await startS3({
              server,
              road,
              port,
              dir: join(t.testdirName, server),
              buckets: [BUCKET, `${BUCKET}/clips`],
            });
            t.teardown(() => servers[server]!.stop());
            return servers[server]!.url;
          };
          return [
            { name: 'api', url: oracle.url },
            { name: 'rclone', url: `${await s3('rclone', 9000)}/${BUCKET}`, sign: true },
            ...(noGo ? [] : [{ name: 'versitygw', url: await s3('versitygw', 9001), sign: true }]),
          ];
        },
      });
      const { road, oracle, layby, load } = scene;
      const cut = cutOf(road);
      t.teardown(() => cut.clear());
      const apps: Record<string, AppRecord[]> = { api: [] };
      const prefixes: Record<string, string> = { rclone: '/clips', versitygw: `/${BUCKET}/clips` };
      const round = async (from: number) => {
        const common = { from, concurrency: 4, keys: 5, bytes: [0, 400_000] as const, seed: from + 1 };
        const [put, post, ...s3] = await Promise.all([
          load({
            ...common,
            host: 'api.example',
            requests: 30,
            headers: { authorization: 'Bearer kept', 'x-Twice': 'a, b' },
          }),
          load({
            ...common,
            from: from + 500,
            host: 'api.example',
            method: 'POST',
            prefix: '/post',
            requests: 30,
          }),
          ...Object.keys(servers).map((name) =>
            load({
              ...common,
              host: `${name}.example`,
              prefix: prefixes[name]!,
              requests: 20,
              headers: STALE,
            }),
          ),
        ]);
        apps.api!.push(...put!, ...post!);
        for (const [at, name] of Object.keys(servers).entries())
          apps[name] = [...(apps[name] ?? []), ...s3[at]!];
      };
      await round(1000); // Online: signed by the sidecar, too.
      for (const [name, records] of Object.entries(apps))
        t.same(
          records.filter(({ status }) => status !== 200),
          [],
          `online: answers of ${name}`,
        );
      await cut.inject();
      await round(2000);
      const receipts = Object.values(apps)
        .flat()
        .filter(({ entryId }) => entryId !== null);
      const expected = 60 + 20 * Object.keys(servers).length;
      t.equal(receipts.length, expected, 'offline: receipts');
      const atS3 = async (name: string) =>
        (await servers[name]!.objects()).map(({ bucket, key, bytes, sha256 }) => ({
          path: name === 'rclone' ? `/${key}` : `/${bucket}/${key}`,
          ...{ bytes, sha256 },
        }));
      await cut.clear();
      const started = performance.now();
      await untilDrained(layby, 40_000);
      t.comment(
        `${expected} entries sent ${Math.round(performance.now() - started)} ms after the link was back`,
      );
      await untilDirect(layby);
      // Envoy leaves a destination alone for 2 to 3 s after a loss of its own, also where the link is back sooner.
      while ((await scene.call('http://api.example/tried')).status !== 200) await sleep(100);
      await round(3000);
      t.same(await layby.queue(), [], 'and then calls go straight again');

      const arrivals = await oracle.requests();
      // Keys of PUT and POST have the same names and are different paths.
      for (const method of ['PUT', 'POST']) {
        const { violations, ...counts } = check(
          apps.api!.filter((record) => record.method === method),
          arrivals.filter((arrival) => arrival.method === method),
          { duplicates: 'never', mayChange: ['host'] },
        );
        t.same(violations, []);
        t.match(counts, { receipts: 30, answered: 60, failed: 0, delivered: 90, duplicates: 0 });
      }
      for (const name of Object.keys(servers)) t.same(checkObjects(apps[name]!, await atS3(name)), [], name);
      const bearer = arrivals.filter((arrival) => headersOf(arrival, 'authorization').length > 0);
      t.equal(bearer.length, 90, 'the own credentials of an app are kept where Layby signs nothing');
    },
  );

for (const [kind, cutOf] of Object.entries(cuts))
  t.test(
    `a body of 20 MiB cut in its middle by ${kind} is one normal 307, and arrives`,
    { skip: noRoad },
    async (t) => {
      const { road, oracle, layby, call, dir } = await makeScene(t);
      const cut = cutOf(road);
      t.teardown(() => cut.clear());
      const file = await randomFile(dir, 'clip', 20 * 1024 * 1024);
      const pieces = async function* () {
        for (let piece = 0; piece < 320; piece++) yield Buffer.alloc(64 * 1024, piece);
      };
      // The destination stops reading, so that the middle is where the cut is.
      await oracle.answer({ path: '/middle', stall: 5 * 1024 * 1024 });
      const begun = ['known', 'unknown'].map((name) =>
        oracle.begins(({ path }) => path === `/middle/${name}`),
      );
      const calls = [
        call('http://api.example/middle/known', { method: 'PUT', body: { file: file.path }, maxTime: 90 }),
        call('http://api.example/middle/unknown', {
          method: 'POST',
          body: { stream: pieces() },
          maxTime: 90,
        }),
      ];
      await Promise.all(begun);
      await cut.inject();
      const answers = await Promise.all(calls);
      for (const answer of answers) {
        t.match(answer, { status: 307, exitCode: 0 });
        t.ok(answer.headers.get('layby-entry'));
        t.comment(`receipt ${Math.round(answer.ms)} ms after the start of the call`);
        t.ok(answer.ms < 15_000);
      }
      await oracle.reset();
      await cut.clear();
      const whole = (arrivals: readonly Arrival[]) => arrivals.filter(({ torn }) => !torn);
      const arrived = whole(await oracle.until((arrivals) => whole(arrivals).length === 2));
      t.match(
        arrived.sort((a, b) => (a.path < b.path ? -1 : 1)),
        [
          { method: 'PUT', path: '/middle/known', bytes: 20 * 1024 * 1024, sha256: file.sha256 },
          { method: 'POST', path: '/middle/unknown', bytes: 20 * 1024 * 1024 },
        ],
      );
      await untilDrained(layby);
    },
  );
