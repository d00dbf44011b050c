// A directory served as S3 by rclone: the bucket of `layby up` on a machine without a cloud, and of tests. It checks signatures but
// not payload hashes, so it is no judge of what Layby signs.

import { mkdir } from 'node:fs/promises';
import { LaybyError } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { type ChildExit, spawnChild } from './child.ts';

/** From the start to the first answer, ms. 50 are usual. */
const START_TIMEOUT = 10_000;

export interface S3ServerOptions {
  /** Path of an rclone, see findRclone. */
  rclone: string;
  /** Made if it is not there. Each directory in it is a bucket, each file in those an object. */
  dir: string;
  /** `127.0.0.1:9000`; port 0 for any free one. */
  listen: string;
  /** No comma, quote or white space in either. */
  accessKey: string;
  secretKey: string;
  log: Logger;
  pidFile?: string;
}

export interface S3Server {
  /** `http://127.0.0.1:9000`, path style, any region. */
  url: string;
  pid: number;
  exited: Promise<ChildExit>;
  stop(): Promise<ChildExit>;
}

/** rclone reads RCLONE_AUTH_KEY as CSV whose one field has a comma inside. */
const authKey = (accessKey: string, secretKey: string): string => {
  if (![accessKey, secretKey].every((key) => /^[^\s,"]+$/.test(key))) {
    throw new LaybyError('LAYBY_S3_KEYS_INVALID', 'the S3 server cannot take these keys', {
      remedy: 'give an access key and a secret key without commas, quotes or white space',
    });
  }
  return `"${accessKey},${secretKey}"`;
};

/** Serves `dir` as S3. Resolves when it answers. Rejects with LAYBY_S3_KEYS_INVALID, LAYBY_S3_NOT_STARTED (the port is taken, the
 *  directory cannot be used; rclone's words are in the message) or LAYBY_CHILD_NOT_STARTED. */
export const startS3Server = async (options: S3ServerOptions): Promise<S3Server> => {
  const { rclone, dir, listen, log, pidFile } = options;
  // The keys are in the environment since argv can be read by every user. The rest of Layby's environment stays out: any
  // RCLONE_ variable in it would change what is served.
  const env = {
    PATH: process.env.PATH,
    RCLONE_CONFIG: '',
    RCLONE_AUTH_KEY: authKey(options.accessKey, options.secretKey),
  };
  await mkdir(dir, { recursive: true });
  let found: (url: string) => void;
  const announced = new Promise<string>((done) => {
    found = done;
  });
  const child = await spawnChild(
    's3',
    rclone,
    // Without a cache of listings a bucket is there as soon as someone makes its directory.
    ['serve', 's3', '--addr', listen, '--dir-cache-time', '0s', dir],
    {
      env,
      log,
      ...(pidFile === undefined ? {} : { pidFile }),
      onLine: (line) => {
        // Waiting for any answer on the port would take another program's for rclone's.
        const url = /Starting s3 server on \[(http:[^\]]+?)\/?\]/.exec(line)?.[1];
        if (url) found(url);
      },
    },
  );
  const fail = async (why: string): Promise<never> => {
    await child.stop();
    throw new LaybyError('LAYBY_S3_NOT_STARTED', `the S3 server on ${listen} did not start: ${why}`, {
      remedy: 'choose another port or directory',
    });
  };
  const timeout = AbortSignal.timeout(START_TIMEOUT);
  const late = new Promise<undefined>((done) => timeout.addEventListener('abort', () => done(undefined)));
  const first = await Promise.race([announced, child.exited, late]);
  if (first === undefined) return fail(`no answer in ${START_TIMEOUT} ms`);
  if (typeof first !== 'string') return fail(first.lastLines.at(-1) ?? `it ended with ${first.code}`);
  try {
    await (await fetch(first, { signal: timeout })).arrayBuffer();
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
  return { url: first, pid: child.pid, exited: child.exited, stop: () => child.stop() };
};
