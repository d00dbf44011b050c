// Starts an ordinary web server in the cloud (web-server.ts) and hears what comes to it.

import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import type { Road } from './namespaces.ts';

const PROGRAM = fileURLToPath(new URL('web-server.ts', import.meta.url));

export interface Heard {
  method: string;
  url: string;
  bytes: number;
  headers: IncomingHttpHeaders;
  /** The number of its connection, from 1. */
  connection: number;
}

export interface WebServer {
  url: string;
  heard: Heard[];
  /** Resolves when this many requests have come. */
  until(count: number): Promise<void>;
}

/** `keepAlive`: how long a connection without a request lives, ms. `tls`: a directory with a certificate. It ends with its namespace. */
export async function webServer(
  t: Test,
  road: Road,
  { keepAlive = 5_000, tls }: { keepAlive?: number; tls?: string } = {},
): Promise<WebServer> {
  const { address } = road.cloud;
  const [program = '', ...args] = road.inCloud([
    ...[process.execPath, PROGRAM, address, String(keepAlive)],
    ...(tls === undefined ? [] : [tls]),
  ]);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const heard: Heard[] = [];
  const bell = new EventEmitter();
  const port = await new Promise<string>((resolve) => {
    let known = false;
    createInterface(child.stdout).on('line', (line) => {
      if (known) heard.push(JSON.parse(line) as Heard);
      else resolve(line);
      known = true;
      bell.emit('heard');
    });
  });
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${address}:${port}`,
    heard,
    until: async (count) => {
      const signal = AbortSignal.timeout(60_000);
      while (heard.length < count) await once(bell, 'heard', { signal });
    },
  };
}
