// Layby on loopback in front of a real S3 server, with a proxy between them that sees every request and can lose an answer.

import { join } from 'node:path';
import type { Test } from 'tap';
import { type CurlAnswer, type CurlOptions, curl } from '../rig/app.ts';
import { type Intercept, startIntercept } from '../rig/intercept.ts';
import { type Layby, startLayby } from '../rig/layby.ts';
import { type S3Server, startS3 } from '../rig/s3.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, type Wanted } from './scene.ts';

export const BUCKET = 'clips';
export const MIB = 1024 * 1024;

export interface S3Scene {
  s3: S3Server;
  way: Intercept;
  layby: Layby;
  dir: string;
  /** PUTs a body as an app does, and expects the receipt; resolves with the entry's id. */
  store(key: string, body: CurlOptions['body'], headers?: readonly string[]): Promise<string>;
  /** A request to the S3 server itself, signed. */
  ask(method: string, path: string, args?: readonly string[]): Promise<CurlAnswer>;
}

export interface S3SceneOptions {
  server?: 'rclone' | 'versitygw';
  /** Of the destination `cam`; by default everything is stored first, and sent behind. */
  cam?: Partial<Wanted>;
  /** Beside it. */
  others?: (way: Intercept, s3: S3Server) => Wanted[] | Promise<Wanted[]>;
}

/** Everything is torn down with the test. */
export const makeS3Scene = async (t: Test, options: S3SceneOptions = {}): Promise<S3Scene> => {
  const dir = testdir(t);
  const s3 = await startS3({
    server: options.server ?? 'versitygw',
    dir: join(dir, 's3'),
    buckets: [BUCKET],
  });
  t.teardown(() => s3.stop());
  const way = await startIntercept(s3.url);
  t.teardown(() => way.close());
  const cam: Wanted = {
    ...{ name: 'cam', url: way.url, sign: true, store: { mode: 'always' } },
    ...options.cam,
  };
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: policyOf(cam, ...((await options.others?.(way, s3)) ?? [])),
    env: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey },
  });
  t.teardown(() => {
    if (!t.passing()) t.comment(layby.lines.slice(-30).join('\n'));
    return layby.kill9('all');
  });
  return {
    ...{ s3, way, layby, dir },
    store: async (key, body, headers = []) => {
      const receipt = await curl(`http://cam.example/${BUCKET}/${key}`, {
        ...{ method: 'PUT', via: layby.outbound, maxTime: 30, headers, ...(body && { body }) },
      });
      const id = receipt.headers.get('layby-entry');
      if (receipt.status !== 307 || id === undefined)
        throw new Error(`no receipt: ${receipt.status} ${receipt.body}`);
      return id;
    },
    ask: (method, path, args = []) =>
      curl(s3.url + path, {
        ...{ method, maxTime: 10, headers: ['x-amz-content-sha256: UNSIGNED-PAYLOAD'] },
        args: [
          ...['--aws-sigv4', `aws:amz:${s3.region}:s3`, '--user', `${s3.accessKeyId}:${s3.secretAccessKey}`],
          ...(method === 'HEAD' ? ['--head'] : []),
          ...args,
        ],
      }),
  };
};

/** Of the requests that sent a part: its number, and what became of it. */
export const partsSent = ({ exchanges }: Intercept) =>
  exchanges.flatMap(({ method, path, bytes, status }) => {
    const number = /[?&]partNumber=(\d+)/.exec(path)?.[1];
    return method === 'PUT' && number !== undefined ? [{ number: Number(number), bytes, status }] : [];
  });

/** Body bytes that came over the way. */
export const bytesSent = ({ exchanges }: Intercept): number =>
  exchanges.reduce((sum, { bytes }) => sum + bytes, 0);
