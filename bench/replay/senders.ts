// Who sends what waits in the vehicle to the S3 server in the cloud: Layby, and the programs that people use instead, each of which is
// begun again until it has succeeded, as a script around it would.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findRclone } from '../../src/parts/rclone.ts';
import { curl } from '../../test/rig/app.ts';
import { startLayby } from '../../test/rig/layby.ts';
import type { Road } from '../../test/rig/namespaces.ts';
import type { S3Server } from '../../test/rig/s3.ts';

export const BUCKET = 'bench';

export interface Place {
  road: Road;
  s3: S3Server;
  dir: string;
}

export interface Sending {
  /** Where what it sends arrives: a directory of files; default: the bucket of the S3 server. */
  arrives?: string;
  /** Resolves when it has begun. */
  go(): Promise<void>;
  /** kill -9; it begins again by itself. */
  kill(): Promise<void>;
  /** For good. */
  stop(): Promise<void>;
}

/** `from`: a directory with `count` files, `0.bin` and so on. */
export type Sender = (place: Place, from: string, count: number) => Promise<Sending>;

/** Stored in Layby while the operator keeps the link down; `go` opens it. `spec`: of the destination; `request`: what the app sends of a
 *  file. */
const storedIn = async (
  { road, dir }: Place,
  spec: { upstream: object; replay?: object },
  env: Record<string, string>,
  from: string,
  count: number,
  request: (name: string) => { method: string; path: string },
): Promise<Sending> => {
  const running = await startLayby({
    ...{ road, data: join(dir, 'layby'), env },
    policy: JSON.stringify({
      ...{ apiVersion: 'layby.dev/v1alpha1', kind: 'Destination', metadata: { name: 'cam' } },
      spec: { hosts: ['cam.example'], store: { mode: 'always' }, ...spec },
    }),
  });
  await running.link('down');
  for (let n = 0; n < count; n++) {
    const { method, path } = request(`${n}.bin`);
    const body = { file: join(from, `${n}.bin`) };
    const put = { road, via: running.outbound, method, body, maxTime: 600 };
    const { status } = await curl(`http://cam.example${path}`, put);
    if (status !== 307) throw new Error(`no receipt: ${status}`);
  }
  return {
    // Not by the command line: Node's own start would count.
    go: async () =>
      void (await curl(`http://${running.admin}/v1/link`, {
        ...{ road, method: 'POST', headers: ['content-type: application/json'], body: '{"state":"up"}' },
      })),
    kill: () => running.kill9('queue'),
    stop: () => running.kill9('all'),
  };
};

const layby: Sender = (place, from, count) => {
  const { url, region, accessKeyId, secretAccessKey, certificate } = place.s3;
  const spec = { upstream: { url, sign: { aws: { service: 's3', region } } } };
  const env = {
    ...{ AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
    ...(certificate !== undefined && { SSL_CERT_FILE: certificate }),
  };
  return storedIn(place, spec, env, from, count, (name) => ({ method: 'PUT', path: `/${BUCKET}/${name}` }));
};

const UPLOADS = fileURLToPath(new URL('upload-server.ts', import.meta.url));
const UPLOADS_PORT = 9100;

/** To a server of resumable uploads. */
const resuming =
  (protocol: 'tus' | 'ietf'): Sender =>
  async (place, from, count) => {
    const { road, dir } = place;
    const arrives = join(dir, 'arrived');
    await mkdir(arrives);
    const { address } = road.cloud;
    const argv = [process.execPath, UPLOADS, protocol, address, String(UPLOADS_PORT), arrives];
    const [file = '', ...args] = road.inCloud(argv);
    const server = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(server.stdout, 'data');
    const spec = {
      upstream: { url: `http://${address}:${UPLOADS_PORT}` },
      replay: { resume: protocol },
    };
    const sending = await storedIn(place, spec, {}, from, count, () => ({ method: 'POST', path: '/files' }));
    const stop = async (): Promise<void> => {
      await sending.stop();
      server.kill('SIGKILL');
    };
    return { ...sending, arrives, stop };
  };

/** A program in the vehicle, begun again until it ends well. */
const program = ({ road }: Place, argv: string[], env: NodeJS.ProcessEnv = {}): Sending => {
  let child: ChildProcess | undefined;
  let stopped = false;
  const begin = (): void => {
    const [file = '', ...args] = road.inVehicle(argv);
    child = spawn(file, args, { stdio: 'ignore', env: { ...process.env, ...env } });
    child.on('exit', (code) => {
      if (code !== 0 && !stopped) setTimeout(begin, 500);
    });
  };
  const end = async (): Promise<void> => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  return {
    go: async () => begin(),
    kill: end,
    stop: async () => {
      stopped = true;
      await end();
    },
  };
};

const withCurl: Sender = async (place, from, count) => {
  const { url, region, accessKeyId, secretAccessKey, certificate } = place.s3;
  const trust = certificate === undefined ? [] : ['--cacert', certificate];
  const each = ['--parallel', '--parallel-max', '4', '--retry', '20', '--retry-all-errors', '-sS', '-f'];
  const sign = ['--aws-sigv4', `aws:amz:${region}:s3`, '--user', `${accessKeyId}:${secretAccessKey}`];
  const names = Array.from({ length: count }, (_, n) => join(from, `${n}.bin`)).join(',');
  const upload = ['-H', 'x-amz-content-sha256: UNSIGNED-PAYLOAD', '-T', count === 1 ? names : `{${names}}`];
  return program(place, [
    'curl',
    ...each,
    ...trust,
    ...sign,
    ...upload,
    '-o',
    '/dev/null',
    `${url}/${BUCKET}/`,
  ]);
};

const withRclone: Sender = async (place, from) => {
  const { url, accessKeyId, secretAccessKey, certificate } = place.s3;
  const trust = certificate === undefined ? [] : ['--ca-cert', certificate];
  const remote = `:s3,provider=Other,access_key_id=${accessKeyId},secret_access_key='${secretAccessKey}',endpoint='${url}':${BUCKET}`;
  const flags = [
    '--config',
    '/dev/null',
    '--transfers',
    '4',
    '--retries',
    '20',
    '--s3-no-check-bucket',
    ...trust,
  ];
  return program(place, [await findRclone(), 'copy', from, remote, ...flags]);
};

const SDK = fileURLToPath(new URL('sdk-upload.ts', import.meta.url));

const withSdk: Sender = async (place, from, count) => {
  const { url, region, accessKeyId, secretAccessKey, certificate } = place.s3;
  return program(place, [process.execPath, SDK, url, BUCKET, from, String(count)], {
    ...{ AWS_REGION: region, AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
    ...(certificate !== undefined && { NODE_EXTRA_CA_CERTS: certificate }),
  });
};

/** Layby's other ways to send a body that can go on after a cut. */
export const RESUMING: [label: string, sender: Sender][] = [
  ['Layby, tus', resuming('tus')],
  ['Layby, IETF draft', resuming('ietf')],
];

export const SENDERS: [label: string, sender: Sender][] = [
  ['Layby', layby],
  ['rclone copy', withRclone],
  ['curl -T --retry 20', withCurl],
  ['AWS SDK for JavaScript, lib-storage', withSdk],
];
