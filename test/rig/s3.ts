// A real S3 server in the cloud: rclone (the embedded default) or versitygw (strict about signatures and checksums, where Go
// is present). What arrived is read from the server's own directory, not through its API.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findRclone } from '../../src/parts/rclone.ts';
import { curl } from './app.ts';
import { writeCertificate } from './certificate.ts';
import { goProgram } from './go.ts';
import { endsWithTheRig } from './lifetime.ts';
import type { Road } from './namespaces.ts';
import { freePort } from './ports.ts';
import { sigkill } from './processes.ts';

const VERSITYGW = { module: 'github.com/versity/versitygw/cmd/versitygw', version: 'v1.8.0' };

const versitygw = (): Promise<string> =>
  goProgram(`versitygw-${VERSITYGW.version}`, 'versitygw', () => [
    'install',
    `${VERSITYGW.module}@${VERSITYGW.version}`,
  ]);

export interface S3Options {
  server?: 'rclone' | 'versitygw';
  /** The backend's directory; a bucket is a directory in it. */
  dir: string;
  /** Made before the start; also directories in one (`bucket/dir`): rclone answers 500 where two requests at once are the first in one. */
  buckets?: readonly string[];
  /** Without one: on loopback. */
  road?: Road;
  /** Any free one where not given. */
  port?: number;
  /** Speaks TLS; only versitygw. Its certificate is `certificate`. */
  tls?: boolean;
}

export interface StoredObject {
  bucket: string;
  key: string;
  bytes: number;
  /** Lower-case hex. */
  sha256: string;
}

export interface S3Server {
  /** `http://HOST:PORT`, path style; `https:` with TLS. */
  url: string;
  /** With TLS: a PEM file of its authority. */
  certificate?: string;
  accessKeyId: string;
  secretAccessKey: string;
  region: string;
  pid: number;
  /** Everything that the backend has, by bucket and key; what is still being uploaded is not in it. */
  objects(): Promise<StoredObject[]>;
  stop(): Promise<void>;
}

const digest = async (path: string): Promise<string> => {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  return hash.digest('hex');
};

/** versitygw keeps the parts of uploads under way, and its locks, in directories beside the buckets' objects. */
const isOurs = (path: readonly string[]): boolean =>
  !path.some((name) => name === '.sgwtmp' || name === '.vgwlocks');

const objectsIn = async (dir: string): Promise<StoredObject[]> => {
  const found: StoredObject[] = [];
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const names = relative(dir, path).split(sep);
    const [bucket = '', ...rest] = names;
    const key = rest.join('/');
    if (rest.length === 0 || !isOurs(names)) continue;
    found.push({ bucket, key, bytes: (await stat(path)).size, sha256: await digest(path) });
  }
  return found.sort((a, b) => (`${a.bucket}/${a.key}` < `${b.bucket}/${b.key}` ? -1 : 1));
};

/** Resolves when it answers. Rejects with its stderr when it ends before. */
export const startS3 = async (options: S3Options): Promise<S3Server> => {
  const { server = 'rclone', dir, road, buckets = [] } = options;
  // Ids and secrets of the usual lengths: rclone checks no signature of a shorter id.
  const keys = { id: 'LAYBYRIGKEYID0000000', secret: 'layby/rig+secret/0123456789abcdefghijklm' };
  const region = 'us-east-1';
  const host = road ? road.cloud.address : '127.0.0.1';
  const port = options.port ?? (road ? 9000 : await freePort());
  const address = `${host}:${port}`;
  for (const bucket of buckets) await mkdir(join(dir, bucket), { recursive: true });
  await mkdir(dir, { recursive: true });
  const secrets = join(dir, '..', 'tls');
  if (options.tls) {
    await mkdir(secrets, { recursive: true });
    await writeCertificate(secrets, host);
  }
  const [certificate, key] = [join(secrets, 'tls.crt'), join(secrets, 'tls.key')];
  const tls = options.tls ? ['--cert', certificate, '--key', key] : [];
  const argv =
    server === 'rclone'
      ? [
          ...[await findRclone(), 'serve', 's3', '--auth-key', `${keys.id},${keys.secret}`],
          ...['--addr', address, '--vfs-cache-mode', 'off', '--config', '/dev/null', dir],
        ]
      : [
          ...[await versitygw(), '--access', keys.id, '--secret', keys.secret],
          ...['--region', region, '--port', address, ...tls, '--quiet', 'posix', dir],
        ];
  const full = road ? road.inCloud(argv) : argv;
  const child = spawn(full[0]!, full.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
  const forget = endsWithTheRig(() => sigkill(child.pid!));
  const ended = once(child, 'exit');
  let said = '';
  for (const output of [child.stdout, child.stderr])
    output.on('data', (piece: Buffer) => {
      said = (said + piece).slice(-8192);
    });

  const url = `${options.tls ? 'https' : 'http'}://${address}`;
  const asked = { ...(road && { road, end: 'cloud' as const }), maxTime: 5, args: ['--insecure'] };
  const deadline = performance.now() + 15_000;
  // Neither server says when it accepts; asking is the only event there is.
  while ((await curl(url, asked)).status === 0) {
    if (child.exitCode !== null || child.signalCode !== null) {
      forget();
      throw new Error(`${server} ended before it was ready: ${said.trim()}`);
    }
    if (performance.now() > deadline) throw new Error(`${server} does not answer on ${url}: ${said.trim()}`);
    await sleep(20);
  }

  return {
    ...{ url, region, accessKeyId: keys.id, secretAccessKey: keys.secret, pid: child.pid! },
    ...(options.tls && { certificate }),
    objects: () => objectsIn(dir),
    stop: async () => {
      forget();
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await ended;
    },
  };
};
