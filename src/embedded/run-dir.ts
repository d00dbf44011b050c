// Where the parts of one mesh meet: Unix sockets, so nothing inside takes a port, and nobody else can connect.

import { createHash } from 'node:crypto';
import { accessSync, chmodSync, constants, lstatSync, mkdirSync, realpathSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeOwnerOnly } from '../platform/owner-only.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import type { Address } from '../wire/address.ts';
import { listen } from '../wire/http.ts';

/** sun_path has 108 bytes, the last of them zero. */
const SOCKET_PATH_BYTES = 107;
const LONGEST_NAME = 'envoy-admin.sock';

/** All that is in the data directory. */
export const LOG_FILE = 'layby.log';
const OWN_NAMES = ['control-plane', 'demo', LOG_FILE, `${LOG_FILE}.1`, 'queue', 'run', 'shared'];

/** One that is just ending is waited for, ms. */
const ENDING_MS = 1_500;

export interface RunDir {
  path: string;
  xds: Address;
  queue: Address;
  queueAdmin: Address;
  egress: Address;
  envoyAdmin: Address;
  lock: string;
}

/** Makes the data directory and, in it, the run directory. A long path gets one under the system's temporary directory, with a
 *  name made from the data directory's. Errors: LAYBY_DATA_UNUSABLE. */
export function makeRunDir(data: string): RunDir {
  try {
    mkdirSync(data, { recursive: true });
    accessSync(data, constants.W_OK);
    makeOwnerOnly(data, OWN_NAMES);
    let path = join(realpathSync(data), 'run');
    if (Buffer.byteLength(join(path, LONGEST_NAME)) > SOCKET_PATH_BYTES) {
      const name = createHash('sha256').update(path).digest('hex').slice(0, 16);
      path = join(tmpdir(), `layby-${name}`);
    }
    mkdirSync(path, { recursive: true, mode: 0o700 });
    // In the temporary directory anybody may have made it, or a link to another one.
    const found = lstatSync(path);
    if (!found.isDirectory()) throw new Error(`${path} is no directory`);
    if (process.getuid && found.uid !== process.getuid()) throw new Error(`${path} belongs to somebody else`);
    chmodSync(path, 0o700);
    const socket = (name: string): Address => ({ unix: join(path, name) });
    return {
      path,
      xds: socket('xds.sock'),
      queue: socket('queue.sock'),
      queueAdmin: socket('queue-admin.sock'),
      egress: socket('egress.sock'),
      envoyAdmin: socket(LONGEST_NAME),
      lock: join(path, 'lock.sock'),
    };
  } catch (error) {
    throw dataUnusable(data, error);
  }
}

/** LAYBY_DATA_UNUSABLE */
export const dataUnusable = (data: string, cause: unknown): LaybyError =>
  new LaybyError('LAYBY_DATA_UNUSABLE', `cannot use ${data} for data (${messageOf(cause)})`, {
    remedy: 'choose a directory that you may write with --data DIR',
    cause,
  });

/** One mesh for one data directory. The lock is a listening socket: it ends with the process, however that ends.
 *  Errors: LAYBY_DATA_IN_USE. */
export async function lockRunDir(runDir: RunDir, data: string): Promise<Server> {
  for (const deadline = Date.now() + ENDING_MS; ; await sleep(50)) {
    const server = createServer((socket) => socket.destroy());
    try {
      await listen(server, { unix: runDir.lock });
      server.unref();
      return server;
    } catch (error) {
      if (Date.now() < deadline) continue;
      throw new LaybyError('LAYBY_DATA_IN_USE', `another \`layby up\` is running on ${data}`, {
        remedy: 'end it, or choose another directory with --data DIR',
        cause: error,
      });
    }
  }
}
