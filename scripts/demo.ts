// The Faraday-bag story, by itself: `npm run demo`. A mesh of its own on free ports, four clips, one loss of link. The exit code
// is 0 only if every clip arrived as it was sent.

import { createCipheriv, createHash, hash } from 'node:crypto';
import { closeSync, createReadStream, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Pool, request } from 'undici';
import { ask } from '../src/cli/admin-client.ts';
import { untilSignal } from '../src/cli/until-signal.ts';
import { DEMO_HOST } from '../src/embedded/demo.ts';
import { type Mesh, startMesh } from '../src/embedded/mesh.ts';
import { makeRunDir } from '../src/embedded/run-dir.ts';
import { LaybyError, messageOf } from '../src/telemetry/error.ts';
import { logger } from '../src/telemetry/log.ts';
import { formatAddress } from '../src/wire/address.ts';
import { poolTo } from '../src/wire/http.ts';
import { Bar, MIB, mib, say, styled } from './terminal.ts';

const CLIP_BYTES = 48 * MIB;
const PIECE_BYTES = 256 * 1024;
/** The camera writes no faster, so that a person can follow; bytes/s. The mesh is not the limit. */
const CAMERA_RATE = 32 * MIB;
/** After the link is back, everything must have arrived in this time, ms. */
const ARRIVAL_MS = 30_000;

/** By then a signal that ended a part has been seen here too, ms. */
const SIGNAL_MS = 200;

interface Entry {
  id: string;
  method: string;
  url: string;
  bytes: number;
  state: string;
}

interface Clip {
  name: string;
  /** SHA-256 of what the app sent, lower-case hex. */
  sha256: string;
}

const chapter = (text: string) => say(`\n${styled(['bold', 'cyan'], text)}`);

/** The bytes of an mp4: a file type box, then one box of media data, which is noise, the same for the same name. */
function* clipOf(name: string): Generator<Buffer> {
  const head = Buffer.alloc(40);
  head.writeUInt32BE(24, 0);
  head.write('ftypisom\0\0\0\0isommp42', 4, 'latin1');
  head.writeUInt32BE(1, 24);
  head.write('mdat', 28, 'latin1');
  head.writeBigUInt64BE(BigInt(CLIP_BYTES - 24), 32);
  yield head;
  const noise = createCipheriv('aes-128-ctr', hash('md5', name, 'buffer'), Buffer.alloc(16));
  for (let left = CLIP_BYTES - head.length; left > 0; left -= PIECE_BYTES)
    yield noise.update(Buffer.alloc(Math.min(left, PIECE_BYTES)));
}

/** An app's plain PUT, with nothing of Layby in it but the address of the sidecar. */
async function upload(sidecar: string, name: string, signal: AbortSignal) {
  const digest = createHash('sha256');
  const bar = new Bar(`PUT ${name}`, CLIP_BYTES);
  const startedAt = performance.now();
  async function* body() {
    let sent = 0;
    for (const piece of clipOf(name)) {
      yield piece;
      digest.update(piece);
      sent += piece.length;
      bar.at(sent);
      const early = (sent / CAMERA_RATE) * 1000 - (performance.now() - startedAt);
      if (early > 1) await sleep(early, undefined, { signal });
    }
  }
  const {
    statusCode,
    headers,
    body: answer,
  } = await request(`http://${sidecar}/2026/${name}`, {
    method: 'PUT',
    headers: { host: DEMO_HOST, 'content-type': 'video/mp4', 'content-length': String(CLIP_BYTES) },
    body: Readable.from(body()),
    signal,
  });
  await answer.dump();
  const clip: Clip = { name, sha256: digest.digest('hex') };
  return { clip, status: statusCode, entry: String(headers['layby-entry'] ?? ''), bar };
}

/** Bytes that the sidecar has written towards S3 for the queue, since its start, by Envoy's own counter. */
async function bytesOut(envoyAdmin: Pool): Promise<number> {
  const { body } = await envoyAdmin.request({
    path: '/stats?filter=egress.upstream_cx_tx_bytes_total',
    method: 'GET',
  });
  return Number(/: (\d+)/.exec(await body.text())?.[1] ?? 0);
}

async function sha256Of(file: string): Promise<string> {
  const digest = createHash('sha256');
  await pipeline(createReadStream(file), digest);
  return digest.digest('hex');
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  const ports: number[] = [];
  for (const server of servers) {
    if (!server.listening) await new Promise((done) => server.once('listening', done));
    ports.push((server.address() as { port: number }).port);
  }
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

interface Stage {
  mesh: Mesh;
  /** HOST:PORT of the sidecar's outbound listener, and of Layby's admin listener. */
  sidecar: string;
  admin: string;
  envoyAdmin: Pool;
  signal: AbortSignal;
}

/** True if every clip arrived as it was sent. */
async function story({ mesh, sidecar, admin, envoyAdmin, signal }: Stage): Promise<boolean> {
  const bucket = mesh.demo!.bucketDir;
  say(
    `  An app in a vehicle uploads to ${styled('bold', `http://${DEMO_HOST}`)}, through a sidecar at ${sidecar}.`,
  );
  say('  It knows nothing of Layby, and holds no S3 credentials.');

  chapter('1  Online');
  const first = await upload(sidecar, 'clip-1.mp4', signal);
  first.bar.done(`${styled('green', String(first.status))} from S3 itself`);
  const clips = [first.clip];
  if (first.status !== 200) return false;

  chapter('2  Into the Faraday bag: the link is cut');
  await ask(admin, 'POST', '/v1/link', { state: 'down' });
  say(`  ${styled('dim', '$ layby link down')}`);
  for (const name of ['clip-2.mp4', 'clip-3.mp4', 'clip-4.mp4']) {
    const { clip, status, entry, bar } = await upload(sidecar, name, signal);
    bar.done(`${styled('yellow', String(status))} Layby-Entry: ${entry}`);
    clips.push(clip);
    if (status !== 307) return false;
  }
  say(`\n  ${styled('dim', '$ layby queue ls')}`);
  const entries = await ask<Entry[]>(admin, 'GET', '/v1/queue');
  for (const { id, state, bytes, method, url } of entries)
    say(`  ${id}  ${state}  ${mib(bytes)}  ${method} ${url}`);
  say('  No error for the app; each clip was on the disk before its 307 left.');

  chapter('3  Out of the bag: the link is back');
  say(`  ${styled('dim', '$ layby link auto')}`);
  const sentBefore = await bytesOut(envoyAdmin);
  const bar = new Bar(`${clips.length - 1} clips to S3`, (clips.length - 1) * CLIP_BYTES);
  await ask(admin, 'POST', '/v1/link', { state: 'auto' });
  for (const deadline = Date.now() + ARRIVAL_MS; ; ) {
    const left = await ask<Entry[]>(admin, 'GET', '/v1/queue');
    if (left.length === 0) break;
    if (Date.now() > deadline)
      throw new Error(`${left.length} clips had not arrived after ${ARRIVAL_MS / 1000} s`);
    bar.at((await bytesOut(envoyAdmin)) - sentBefore);
    await sleep(50, undefined, { signal });
  }
  bar.done('the queue is empty');

  chapter('4  Sent and arrived, by SHA-256');
  let allEqual = true;
  for (const { name, sha256 } of clips) {
    const file = join(bucket, '2026', name);
    const there = (await stat(file).catch(() => undefined))?.isFile() ? await sha256Of(file) : 'not there';
    const equal = there === sha256;
    allEqual &&= equal;
    say(
      `  ${name}  ${sha256.slice(0, 16)}…  ${there.slice(0, 16)}…  ${equal ? styled('green', 'equal') : styled('red', 'DIFFERENT')}`,
    );
  }
  return allEqual;
}

const interrupted = new AbortController();
const dir = mkdtempSync(join(tmpdir(), 'layby-demo-'));
const logFile = join(dir, 'demo.log');
const log = openSync(logFile, 'a');
void untilSignal(logger('demo', log)).then(() => interrupted.abort());
process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
let mesh: Mesh | undefined;
try {
  say(styled('bold', 'Layby: a service mesh for machines that lose signal'));
  const data = join(dir, 'data');
  const [outbound, admin] = (await freePorts(2)).map((port) => ({ host: '127.0.0.1', port }));
  mesh = await startMesh({
    policy: [],
    data,
    outbound: outbound!,
    admin: admin!,
    log: logger('demo', log),
    onLog: (lines) => writeSync(log, lines),
    onFetch: (name) => say(`  fetching ${name} (once)`),
    onRefused: () => {},
    signal: interrupted.signal,
  });
  const equal = await story({
    mesh,
    sidecar: formatAddress(outbound!),
    admin: formatAddress(admin!),
    envoyAdmin: poolTo(makeRunDir(data).envoyAdmin),
    signal: interrupted.signal,
  });
  say();
  say(equal ? styled(['bold', 'green'], 'Nothing was lost.') : styled(['bold', 'red'], 'This went wrong.'));
  process.exitCode = equal ? 0 : 1;
} catch (error) {
  // A Ctrl-C goes to the parts as well, and their end may be heard first.
  await sleep(SIGNAL_MS);
  process.exitCode = interrupted.signal.aborted ? 130 : 1;
  say();
  if (interrupted.signal.aborted) say('Stopped; nothing is left behind.');
  else {
    console.error(`demo: ${error instanceof LaybyError ? error.line : messageOf(error)}`);
    console.error(readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-10).join('\n'));
  }
} finally {
  await mesh?.stop();
  closeSync(log);
}
process.exit();
