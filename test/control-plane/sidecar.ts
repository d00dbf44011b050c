// A real Envoy beside a control plane in this process, in any of the modes of xDS: for what only Envoy can say.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import type { Test } from 'tap';
import { Pool } from 'undici';
import {
  type ControlPlane,
  type ControlPlaneOptions,
  startControlPlane,
} from '../../src/control-plane/control-plane.ts';
import { configSource, type Discovery } from '../../src/control-plane/resources/config-source.ts';
import type { ClientStatus } from '../../src/control-plane/server/client.ts';
import { type BootstrapOptions, bootstrap } from '../../src/embedded/bootstrap.ts';
import { findEnvoy } from '../../src/parts/envoy.ts';
import type { Address } from '../../src/wire/address.ts';
import { PendingLanes } from '../../src/wire/pending-lanes.ts';
import { pendingLanesFile, sharedDirOf } from '../../src/wire/shared-dir.ts';
import { endsWithTheRig } from '../rig/lifetime.ts';
import { freePort } from '../rig/ports.ts';
import type { Mode } from './xds-client.ts';

interface Sources {
  dynamic_resources: { ads_config?: { api_type: string }; cds_config: object; lds_config: object };
  layered_runtime: { layers: { rtds_layer: { rtds_config: object } }[] };
}

/** The bootstrap of `layby up`, in another mode. */
export function bootstrapIn(mode: Mode, options: Parameters<typeof bootstrap>[0]): object {
  const json = bootstrap(options) as Sources;
  if (mode.aggregated) {
    json.dynamic_resources.ads_config!.api_type = mode.variant === 'delta' ? 'DELTA_GRPC' : 'GRPC';
    return json;
  }
  const discovery: Discovery = mode.variant === 'delta' ? 'separate-delta' : 'separate';
  const apart = configSource(discovery);
  json.dynamic_resources = { cds_config: apart, lds_config: apart };
  json.layered_runtime.layers[0]!.rtds_layer.rtds_config = { ...apart, initial_fetch_timeout: '5s' };
  return json;
}

/** A server on a port of its own, for both meanings of `localhost`; ended with the test. */
export async function httpServer(t: Test, listener: RequestListener): Promise<number> {
  const listening = async (host: string, port: number): Promise<number> => {
    const server = createServer({ keepAliveTimeout: 0 }, listener);
    server.listen(port, host);
    await once(server, 'listening');
    t.teardown(() => {
      server.closeAllConnections();
      server.close();
    });
    return (server.address() as AddressInfo).port;
  };
  const port = await listening('127.0.0.1', 0);
  // Without IPv6 the name has one meaning.
  await listening('::1', port).catch(() => {});
  return port;
}

export interface Sidecar {
  /** One connection, kept. */
  app: Pool;
  outbound: number;
  /** The first one waits for the listener: Envoy acknowledges it a moment before it listens. */
  call(host: string): Promise<{ status: number; text: string }>;
  /** Envoy's counters and gauges. */
  stats(filter: RegExp): Promise<Map<string, number>>;
}

export interface Plane {
  control: ControlPlane;
  status(): Promise<{ sidecars: ClientStatus[] }>;
  /** Asks until this is true of its sidecars. */
  until(is: (sidecars: ClientStatus[]) => boolean, what?: string): Promise<ClientStatus[]>;
  link(state: 'down' | 'auto', destination: string): Promise<void>;
  /** Bytes that went out, by type. */
  sent(): Promise<Record<string, number>>;
  close(): Promise<void>;
}

/** `queue`: the port of what stands for the queue. */
export async function plane(
  t: Test,
  dir: string,
  xds: Address,
  policy: string,
  queue: number,
  more: Partial<ControlPlaneOptions> = {},
): Promise<Plane> {
  // As a queue left it that had no entries: there is none here, and nothing is to be held for one.
  await new PendingLanes(pendingLanesFile(sharedDirOf(join(dir, 'state')))).open([]);
  const control = await startControlPlane({
    ...more,
    policy: [policy],
    dir: join(dir, 'state'),
    xds,
    admin: { host: '127.0.0.1', port: 0 },
    queue: { host: '127.0.0.1', port: queue },
    queueAdmin: { host: '127.0.0.1', port: 9 },
    expectSidecars: 1,
    log: pino({ level: process.env.LAYBY_LOG ?? 'silent' }),
  });
  let closed: Promise<void> | undefined;
  const close = () => {
    closed ??= control.close();
    return closed;
  };
  t.teardown(close);
  const admin = control.admin as { host: string; port: number };
  const ask = (path: string, init?: RequestInit) => fetch(`http://${admin.host}:${admin.port}${path}`, init);
  const status = async () => (await (await ask('/v1/status')).json()) as { sidecars: ClientStatus[] };
  return {
    control,
    status,
    close,
    until: async (is, what = String(is)) => {
      for (const deadline = Date.now() + 20_000; ; ) {
        const { sidecars } = await status();
        if (is(sidecars)) return sidecars;
        if (Date.now() > deadline) throw new Error(`not within 20 s: ${what}\n${JSON.stringify(sidecars)}`);
        await new Promise(setImmediate);
      }
    },
    link: async (state, destination) => {
      await ask('/v1/link', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ state, destinations: [destination] }),
      });
    },
    sent: async () => {
      const text = await (await ask('/metrics')).text();
      const lines = text.matchAll(/^layby_xds_response_bytes_total\{.*type="(\w+)"\} (\d+)/gm);
      return Object.fromEntries([...lines].map(([, type, bytes]) => [type, Number(bytes)]));
    },
  };
}

export async function sidecar(
  t: Test,
  mode: Mode,
  dir: string,
  xds: Address,
  port?: number,
  more: Partial<BootstrapOptions> = {},
): Promise<Sidecar> {
  const outbound = port ?? (await freePort());
  const admin = await freePort();
  const file = join(dir, `envoy-${outbound}.json`);
  const json = bootstrapIn(mode, {
    node: 'truck-7',
    xds,
    admin: { host: '127.0.0.1', port: admin },
    outbound: { host: '127.0.0.1', port: outbound },
    trustedCa: '/etc/ssl/certs/ca-certificates.crt',
    ...more,
  });
  await writeFile(file, JSON.stringify(json));
  const args = ['-c', file, '--disable-hot-restart', '--log-level', 'warn', '--concurrency', '1'];
  const envoy = spawn(await findEnvoy(), args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const lines: string[] = [];
  envoy.stderr.on('data', (text: Buffer) => lines.push(text.toString()));
  const forget = endsWithTheRig(() => envoy.kill('SIGKILL'));
  const app = new Pool(`http://127.0.0.1:${outbound}`, { connections: 1 });
  t.teardown(async () => {
    if (!t.passing()) t.comment(lines.join('').split('\n').slice(-20).join('\n'));
    await app.close();
    envoy.kill('SIGKILL');
    await once(envoy, 'exit');
    forget();
  });
  let listens = false;
  const call: Sidecar['call'] = async (host) => {
    for (const deadline = Date.now() + 20_000; ; await sleep(5)) {
      try {
        const { statusCode, body } = await app.request({ path: '/', method: 'GET', headers: { host } });
        listens = true;
        return { status: statusCode, text: await body.text() };
      } catch (error) {
        const refused = (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
        if (listens || !refused || Date.now() > deadline) throw error;
      }
    }
  };
  return {
    app,
    outbound,
    call,
    stats: async (filter) => {
      const answer = await fetch(
        `http://127.0.0.1:${admin}/stats?filter=${encodeURIComponent(filter.source)}`,
      );
      const text = await answer.text();
      return new Map(
        text
          .trim()
          .split('\n')
          .map((line) => line.split(': '))
          .map(([name, value]) => [name!, Number(value)]),
      );
    },
  };
}
