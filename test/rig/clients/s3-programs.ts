// The apps that are programs of the command line: aws-cli where the machine has it, and rclone.

import { type ExecFileException, execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { findRclone } from '../../../src/parts/rclone.ts';
import type { Call, Result, S3App, S3Endpoint } from './s3-app.ts';

const KEYS = { AWS_ACCESS_KEY_ID: 'APPKEY', AWS_SECRET_ACCESS_KEY: 'app-secret', AWS_REGION: 'us-east-1' };

interface Ended {
  code: number;
  stdout: Buffer;
  stderr: string;
}

const ended = (argv: readonly string[], env: Record<string, string>): Promise<Ended> =>
  new Promise((resolve) => {
    const [file = '', ...args] = argv;
    const options = {
      env: { ...process.env, ...KEYS, ...env },
      encoding: 'buffer' as const,
      ...{ timeout: 120_000, maxBuffer: 64 * 1024 * 1024 },
    };
    execFile(file, args, options, (error: ExecFileException | null, stdout, stderr) =>
      resolve({
        code: error ? (typeof error.code === 'number' ? error.code : -1) : 0,
        stdout,
        stderr: `${stderr}`,
      }),
    );
  });

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** What a program says of S3's answer: `(NoSuchKey)`, `404`. */
const failed = ({ code, stderr }: Ended): Result => ({
  error: /\((\w+)\)/.exec(stderr)?.[1] ?? `exit ${code}`,
  status: Number(/\b([345]\d\d)\b/.exec(stderr)?.[1] ?? 0),
  words: stderr.trim().split('\n').at(-1)!,
});

/** `line`: the command line of a call; `result`: what its output says. */
const program = (
  name: string,
  skip: string | false,
  version: () => Promise<string>,
  line: (endpoint: S3Endpoint, call: Call) => Promise<readonly string[]>,
  result: (call: Call, stdout: Buffer) => Result,
): S3App => ({
  name,
  skip,
  ops: ['put', 'upload', 'head', 'get', 'list', 'delete'],
  version,
  async run(endpoint, calls) {
    const results: Result[] = [];
    for (const call of calls) {
      const said = await ended([...(endpoint.wrap ?? []), ...(await line(endpoint, call))], {
        AWS_ENDPOINT_URL: endpoint.url,
        RCLONE_S3_ENDPOINT: endpoint.url,
        ...(endpoint.retries ? {} : { AWS_MAX_ATTEMPTS: '1', RCLONE_RETRIES: '1' }),
      });
      results.push(said.code === 0 ? result(call, said.stdout) : failed(said));
    }
    return results;
  },
});

const awsLine = async ({ bucket }: S3Endpoint, call: Call): Promise<readonly string[]> => {
  const s3 = (...args: string[]) => ['aws', 's3', '--only-show-errors', ...args];
  const api = (operation: string, key: string) => [
    ...['aws', 's3api', '--output', 'json', operation, '--bucket', bucket, '--key', key],
  ];
  switch (call.op) {
    case 'put':
      return [...api('put-object', call.key), '--body', call.file];
    case 'upload':
      return s3('cp', call.file, `s3://${bucket}/${call.key}`);
    case 'head':
      return api('head-object', call.key);
    case 'get':
      return s3('cp', `s3://${bucket}/${call.key}`, '-');
    case 'list':
      return ['aws', 's3', 'ls', '--recursive', `s3://${bucket}/${call.prefix}`];
    case 'delete':
      return s3('rm', `s3://${bucket}/${call.key}`);
    default:
      throw new Error(`not asked of aws-cli: ${call.op}`);
  }
};

const awsResult = (call: Call, stdout: Buffer): Result => {
  switch (call.op) {
    case 'put':
      return { etag: (JSON.parse(`${stdout}`) as { ETag: string }).ETag };
    case 'head': {
      const { ETag, ContentLength } = JSON.parse(`${stdout}`) as { ETag: string; ContentLength: number };
      return { etag: ETag, bytes: ContentLength };
    }
    case 'get':
      return { etag: null, bytes: stdout.length, sha256: sha256(stdout) };
    case 'list':
      return {
        keys: `${stdout}`
          .trim()
          .split('\n')
          .map((line) => line.split(/\s+/).at(-1)!),
      };
    default:
      return {};
  }
};

const awsVersion = (): string | undefined => {
  const { status, stdout, stderr } = spawnSync('aws', ['--version'], { encoding: 'utf8' });
  return status === 0 ? /aws-cli\/(\S+)/.exec(stdout + stderr)?.[1] : undefined;
};

const aws = awsVersion();

export const awsCli: S3App = program(
  'aws-cli',
  aws === undefined ? 'there is no aws-cli' : false,
  async () => aws ?? '',
  awsLine,
  awsResult,
);

const rcloneLine = async ({ bucket }: S3Endpoint, call: Call): Promise<readonly string[]> => {
  const rclone = [
    await findRclone(),
    ...['--config', '/dev/null', '--s3-provider', 'Other', '--s3-env-auth', '--s3-upload-cutoff', '8Mi'],
    // Else it makes the bucket, looks for an older object before it uploads, and for the new one afterwards, which only S3 has where the
    // upload began there; and it goes on asking for minutes.
    ...['--s3-no-check-bucket', '--no-check-dest', '--s3-no-head'],
  ];
  const at = (key: string) => `:s3:${bucket}/${key}`;
  switch (call.op) {
    case 'put':
    case 'upload':
      return [...rclone, 'copyto', call.file, at(call.key)];
    case 'head':
      return [...rclone, 'lsjson', '--stat', at(call.key)];
    case 'get':
      return [...rclone, 'cat', at(call.key)];
    case 'list':
      return [...rclone, 'lsf', '-R', '--files-only', at(call.prefix)];
    case 'delete':
      return [...rclone, 'deletefile', at(call.key)];
    default:
      throw new Error(`not asked of rclone: ${call.op}`);
  }
};

const rcloneResult = (call: Call, stdout: Buffer): Result => {
  switch (call.op) {
    case 'put':
      return { etag: null };
    case 'head':
      return { etag: null, bytes: (JSON.parse(`${stdout}`) as { Size: number }).Size };
    case 'get':
      // To it, an object that is not there is an empty folder.
      return stdout.length === 0
        ? { error: 'nothing', status: 0 }
        : { etag: null, bytes: stdout.length, sha256: sha256(stdout) };
    case 'list':
      return {
        keys: `${stdout}`
          .trim()
          .split('\n')
          .map((name) => call.prefix + name),
      };
    default:
      return {};
  }
};

export const rclone: S3App = program(
  'rclone',
  false,
  async () =>
    /v(\S+)/.exec(spawnSync(await findRclone(), ['version'], { encoding: 'utf8' }).stdout)?.[1] ?? '',
  rcloneLine,
  rcloneResult,
);
