// A mesh that signs, and a service behind it that is as strict as there is one: requests of every shape, by every way.

import { join } from 'node:path';
import type { Test } from 'tap';
import { rawCall } from '../docs/raw-destination.ts';
import { type Layby, startLayby } from '../rig/layby.ts';
import { meaningOf, type Shape } from '../rig/signed-requests.ts';
import { startSigV4 } from '../rig/sigv4.ts';
import { testdir } from '../rig/testdir.ts';
import { untilDrained, untilSidecar } from './scene.ts';

export const KEYS = { id: 'LAYBYRIGKEYID0000000', secret: 'layby/rig+secret/0123456789abcdefghijklm' };

export interface SignedWay {
  service: string;
  mode: 'failover' | 'never';
  host: string;
}

export const SIGNED_WAYS: SignedWay[] = ['s3', 'execute-api'].flatMap((service) =>
  (['failover', 'never'] as const).map((mode) => ({ service, mode, host: `${mode}.${service}.example` })),
);

export const startSigned = async (t: Test) => {
  const dir = testdir(t);
  const server = await startSigV4(KEYS);
  t.teardown(() => server.stop());
  const policy = SIGNED_WAYS.map(({ service, mode, host }) =>
    JSON.stringify({
      apiVersion: 'layby.dev/v1alpha1',
      kind: 'Destination',
      metadata: { name: `${mode}-${service}` },
      spec: {
        hosts: [host],
        upstream: { url: server.url, sign: { aws: { service, region: 'us-east-1' } } },
        store: { mode, order: 'none' },
        replay: { retry: { max: '1s' }, concurrency: 16 },
      },
    }),
  ).join('\n---\n');
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy,
    env: { AWS_ACCESS_KEY_ID: KEYS.id, AWS_SECRET_ACCESS_KEY: KEYS.secret },
  });
  t.teardown(() => {
    if (!t.passing()) t.comment(layby.lines.slice(-30).join('\n'));
    return layby.kill9('all');
  });
  await untilSidecar(layby);
  return { server, layby };
};

export type Signed = Awaited<ReturnType<typeof startSigned>>;

const pathOf = (i: number, { path, query }: Shape): string => `/b/mark${i}${path}${query}`;

const put = async ({ outbound }: Layby, host: string, path: string, headers: readonly string[]) => {
  const lines = [
    `PUT ${path} HTTP/1.1`,
    `Host: ${host}`,
    'Connection: close',
    'Content-Length: 1',
    ...headers,
    '',
    'x',
  ];
  const answer = await rawCall(outbound, lines.join('\r\n'));
  return Number(/^HTTP\/1.1 (\d+)/.exec(answer)?.[1]);
};

const pairsOf = (lines: readonly string[]): string[] =>
  lines.flatMap((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).replaceAll(/\r\n +/g, ' ')];
  });

/** What is wrong, in words. */
const faultsIn = (
  { server }: Signed,
  { service }: SignedWay,
  shapes: readonly Shape[],
  label: string,
): string[] => {
  const kept = server.kept.splice(0);
  const refused = server.faults.splice(0);
  const byMark = new Map(kept.map((one) => [/^\/b\/mark(\d+)/.exec(one.path)?.[1], one]));
  return [
    ...refused.map((fault) => `${label}: ${fault}`),
    ...shapes.flatMap((shape, i) => {
      const arrived = byMark.get(String(i));
      if (!arrived) return [`${label}: not there: ${JSON.stringify(shape)}`];
      const asked = meaningOf(service, pathOf(i, shape), pairsOf(shape.headers));
      const got = meaningOf(service, arrived.url, arrived.rawHeaders);
      for (const name of Object.keys(got.headers)) if (!(name in asked.headers)) delete got.headers[name];
      return JSON.stringify(asked) === JSON.stringify(got)
        ? []
        : [`${label}: ${JSON.stringify(asked)} arrived as ${JSON.stringify(got)}`];
    }),
  ];
};

/** What goes wrong with these requests, directly, and where they may be stored, stored and replayed. */
export const signingFaults = async (
  signed: Signed,
  way: SignedWay,
  shapes: readonly Shape[],
): Promise<string[]> => {
  const { layby } = signed;
  const faults: string[] = [];
  const all = async (label: string, right: (status: number) => boolean): Promise<void> => {
    let next = 0;
    const app = async () => {
      while (next < shapes.length) {
        const i = next++;
        const shape = shapes[i]!;
        const status = await put(layby, way.host, pathOf(i, shape), shape.headers);
        if (!right(status)) faults.push(`${label}: ${status} for ${JSON.stringify(shape)}`);
      }
    };
    await Promise.all(Array.from({ length: 8 }, app));
  };
  await all(`${way.host} directly`, (status) => status === 200);
  faults.push(...faultsIn(signed, way, shapes, `${way.host} directly`));
  if (way.mode === 'never') return faults;
  await layby.link('down');
  await all(`${way.host} without a link`, (status) => status === 307);
  await layby.link('auto');
  await untilDrained(layby, 30_000).catch((error: Error) => faults.push(error.message));
  faults.push(...faultsIn(signed, way, shapes, `${way.host} replayed`));
  return faults;
};
