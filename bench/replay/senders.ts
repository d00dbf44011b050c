// Who sends what waits in the vehicle to the S3 server in the cloud: Layby, and the programs that people use instead, each of which is
// begun again until it has succeeded, as a script around it would.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
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
  /** Resolves when it has begun. */
  go(): Promise<void>;
  /** kill -9; it begins again by itself. */
  kill(): Promise<void>;
  /** For good. */
  stop(): Promise<void>;
}

/** `from`: a directory with `count` files, `0.bin` and so on. */
export type Sender = (place: Place, from: string, count: number) => Promise<Sending>;

/** Stored in Layby while the operator keeps the link down; `go` opens it. */
const layby: Sender = async ({ road, s3, dir }, from, count) => {
  const running = await startLayby({
    ...{ road, data: join(dir, 'layby') },
    policy: JSON.stringify({
      ...{ apiVersion: 'layby.dev/v1alpha1', kind: 'Destination', metadata: { name: 'cam' } },
      spec: {
        hosts: ['cam.example'],
        upstream: { url: s3.url, sign: { aws: { service: 's3', region: s3.region } } },
        store: { mode: 'always' },
      },
    }),
    env: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey },
  });
  await running.link('down');
  for (let n = 0; n < count; n++) {
    const to = `http://cam.example/${BUCKET}/${n}.bin`;
    const body = { file: join(from, `${n}.bin`) };
    const put = { road, via: running.outbound, method: 'PUT', body, maxTime: 600 };
    const { status } = await curl(to, put);
    if (status !== 307) throw new Error(`no receipt: ${status}`);
  }
  return {
    // Not by the command line: Node's own start would count.
    go: async () =>
      void (await curl(`http://${running.admin}/v1/link`, { road, method: 'POST', body: '{"state":"up"}' })),
    kill: () => running.kill9('queue'),
    stop: () => running.kill9('all'),
  };
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
  const { url, region, accessKeyId, secretAccessKey } = place.s3;
  const each = ['--parallel', '--parallel-max', '4', '--retry', '20', '--retry-all-errors', '-sS', '-f'];
  const sign = ['--aws-sigv4', `aws:amz:${region}:s3`, '--user', `${accessKeyId}:${secretAccessKey}`];
  const names = Array.from({ length: count }, (_, n) => join(from, `${n}.bin`)).join(',');
  const upload = ['-H', 'x-amz-content-sha256: UNSIGNED-PAYLOAD', '-T', count === 1 ? names : `{${names}}`];
  return program(place, ['curl', ...each, ...sign, ...upload, '-o', '/dev/null', `${url}/${BUCKET}/`]);
};

const withRclone: Sender = async (place, from) => {
  const { url, accessKeyId, secretAccessKey } = place.s3;
  const remote = `:s3,provider=Other,access_key_id=${accessKeyId},secret_access_key='${secretAccessKey}',endpoint='${url}':${BUCKET}`;
  const flags = ['--config', '/dev/null', '--transfers', '4', '--retries', '20', '--s3-no-check-bucket'];
  return program(place, [await findRclone(), 'copy', from, remote, ...flags]);
};

const SDK = fileURLToPath(new URL('sdk-upload.ts', import.meta.url));

const withSdk: Sender = async (place, from, count) => {
  const { url, region, accessKeyId, secretAccessKey } = place.s3;
  return program(place, [process.execPath, SDK, url, BUCKET, from, String(count)], {
    ...{ AWS_REGION: region, AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
  });
};

export const SENDERS: [label: string, sender: Sender][] = [
  ['Layby', layby],
  ['rclone copy', withRclone],
  ['curl -T --retry 20', withCurl],
  ['AWS SDK for JavaScript, lib-storage', withSdk],
];
