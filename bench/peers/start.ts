// Starts the peers on loopback, each with its data below one directory, and says how to ask it to keep a body. What is not there
// is named with the command that brings it.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findRclone } from '../../src/parts/rclone.ts';
import type { Load } from '../load-http.ts';
import { findPeer, PEERS, type PeerName, peerDir } from './lock.ts';

const START_MS = 30_000;

type Upload = (bytes: number) => Pick<Load, 'to' | 'host' | 'status' | 'line' | 'headers' | 'prefix'>;

export interface RunningPeer {
  label: string;
  /** It acknowledges after an fsync. */
  durable: boolean;
  /** How to upload over HTTP; NATS is asked over its own protocol. */
  http?: Upload;
  nats?: { port: number };
  /** Takes away what a measurement left. */
  clean(): Promise<void>;
  stop(): Promise<void>;
}

interface Start {
  label: string;
  durable: boolean;
  peer?: PeerName;
  /** What to run. `program`: of the peer. */
  command(program: string, dir: string, port: number): Promise<string[]>;
  http?: (port: number) => Upload;
  nats?: true;
  /** Below `dir`; emptied after each measurement. */
  litter?: string;
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

const loopback = (port: number) => ({ to: { host: '127.0.0.1', port }, host: `127.0.0.1:${port}` });

const put = (port: number) => () => ({ ...loopback(port), status: 201, line: 'PUT /clip-{n}.mp4' });

/** A field of protocol buffers: its number, wire type 2, and its length. The bytes follow. */
const field = (number: number, length: number): Buffer => {
  const bytes = [(number << 3) | 2];
  for (let left = length; ; left = Math.floor(left / 128)) {
    bytes.push(left >= 128 ? (left % 128) | 128 : left);
    if (left < 128) return Buffer.from(bytes);
  }
};

/** ExportLogsServiceRequest with one record whose body is `bytes` bytes: resource_logs, scope_logs, log_records, body, bytes_value. */
const logPrefix = (bytes: number): Buffer =>
  [7, 5, 2, 2, 1].reduce(
    (inner, number) => Buffer.concat([field(number, inner.length + bytes), inner]),
    Buffer.alloc(0),
  );

const natsConfig = (dir: string, port: number, sync: string): string =>
  `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${dir}/store"${sync} }\n`;

const nats =
  (sync: string): Start['command'] =>
  async (program, dir, port) => {
    await writeFile(join(dir, 'nats.conf'), natsConfig(dir, port, sync));
    return [program, '-c', join(dir, 'nats.conf')];
  };

/** A queue whose far end does not answer, as without a link. */
const collectorConfig = (dir: string, port: number): string => `
receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:${port}", max_request_body_size: 134217728 } } } }
extensions: { file_storage: { directory: "${dir}/queue", create_directory: true, fsync: true } }
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:9
    retry_on_failure: { initial_interval: 10m, max_interval: 10m, max_elapsed_time: 0s }
    sending_queue: { storage: file_storage, queue_size: 10000000, num_consumers: 1 }
service:
  extensions: [file_storage]
  telemetry: { logs: { level: error }, metrics: { level: none } }
  pipelines: { logs: { receivers: [otlp], exporters: [otlp_http] } }
`;

const nginxConfig = (dir: string, port: number): string => `
daemon off; worker_processes 2; pid ${dir}/pid; error_log ${dir}/error.log;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/t1; fastcgi_temp_path ${dir}/t2; uwsgi_temp_path ${dir}/t3; scgi_temp_path ${dir}/t4;
  client_max_body_size 0; keepalive_requests 100000000;
  server { listen 127.0.0.1:${port}; root ${dir}/files; location / { dav_methods PUT; } }
}
`;

const STARTS: Start[] = [
  {
    ...{ label: 'NATS JetStream, sync_interval: always', durable: true, peer: 'nats', nats: true },
    command: nats(', sync_interval: always'),
  },
  {
    ...{ label: 'OpenTelemetry Collector, file_storage with fsync', durable: true, peer: 'otelcol' },
    command: async (program, dir, port) => {
      await writeFile(join(dir, 'config.yaml'), collectorConfig(dir, port));
      return [program, '--config', `file:${join(dir, 'config.yaml')}`];
    },
    http: (port) => (bytes) => ({
      ...loopback(port),
      ...{ status: 200, line: 'POST /v1/logs?n={n}', headers: 'Content-Type: application/x-protobuf\r\n' },
      prefix: logPrefix(bytes).toString('base64'),
    }),
  },
  {
    ...{ label: 'NATS JetStream, default', durable: false, peer: 'nats', nats: true },
    command: nats(''),
  },
  {
    ...{ label: 'nginx, bodies to files', durable: false, peer: 'nginx', litter: 'files' },
    command: async (program, dir, port) => {
      await mkdir(join(dir, 'files'));
      await writeFile(join(dir, 'nginx.conf'), `user root;${nginxConfig(dir, port)}`);
      return [program, '-p', dir, '-c', join(dir, 'nginx.conf'), '-e', join(dir, 'error.log')];
    },
    http: put,
  },
  {
    ...{ label: 'rclone webdav, VFS write-back', durable: false },
    command: async (_, dir, port) => [
      ...[await findRclone(), 'serve', 'webdav', '--addr', `127.0.0.1:${port}`, '--config', ''],
      ...['--vfs-cache-mode', 'writes', '--vfs-write-back', '24h', '--cache-dir', join(dir, 'cache')],
      join(dir, 'remote'),
    ],
    http: put,
  },
  {
    ...{ label: 'tus node server', durable: false, peer: 'tus', litter: 'files' },
    command: async (_, dir, port) => [
      ...[process.execPath, fileURLToPath(new URL('./tus-server.ts', import.meta.url))],
      ...[peerDir('tus'), join(dir, 'files'), String(port)],
    ],
    http: (port) => (bytes) => ({
      ...{ ...loopback(port), status: 201, line: 'POST /files?n={n}' },
      headers: `Tus-Resumable: 1.0.0\r\nUpload-Length: ${bytes}\r\nContent-Type: application/offset+octet-stream\r\n`,
    }),
  },
];

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');
  return port;
}

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });

async function start(one: Start, program: string, dir: string): Promise<RunningPeer> {
  const port = await freePort();
  await mkdir(dir, { recursive: true });
  await mkdir(join(dir, 'remote'));
  const [command = '', ...args] = await one.command(program, dir, port);
  const log = openSync(join(dir, 'log'), 'w');
  const child = spawn(command, args, { stdio: ['ignore', log, log], cwd: dir });
  running.add(child);
  const ended = once(child, 'exit').then(() => running.delete(child));
  for (const deadline = Date.now() + START_MS; !(await answers(port)); ) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`it did not start; see ${dir}/log`);
    await new Promise((again) => setTimeout(again, 20));
  }
  return {
    ...{ label: one.label, durable: one.durable },
    ...(one.http && { http: one.http(port) }),
    ...(one.nats && { nats: { port } }),
    clean: async () => {
      if (!one.litter) return;
      const litter = join(dir, one.litter);
      for (const name of await readdir(litter))
        await rm(join(litter, name), { recursive: true, force: true });
    },
    stop: async () => {
      child.kill('SIGTERM');
      const forced = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await ended;
      clearTimeout(forced);
    },
  };
}

/** All that are there; `skipped` is told of the others, in words. */
export async function startPeers(dir: string, skipped: (why: string) => void): Promise<RunningPeer[]> {
  const peers: RunningPeer[] = [];
  for (const [i, one] of STARTS.entries()) {
    const program = one.peer ? await findPeer(one.peer) : '';
    if (program === undefined) {
      const { title, version } = PEERS[one.peer!];
      skipped(
        `${one.label}: ${title} ${version} is not installed; node scripts/fetch-peers.ts ${one.peer} brings it`,
      );
      continue;
    }
    await start(one, program, join(dir, `peer-${i}`)).then(
      (peer) => peers.push(peer),
      (error: Error) => skipped(`${one.label}: ${error.message}`),
    );
  }
  return peers;
}
