// A health listener, of the control plane or of the queue: for probes and for Prometheus, without a token. It serves nothing but whether the
// process works, in words without secrets, and metrics where they are wanted.

import type { Server } from 'node:http';
import { LaybyError } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Address } from './address.ts';
import { type AdminRequest, adminServer } from './admin-server.ts';
import { listen } from './http.ts';

export interface HealthChecks {
  /** Why a restart is needed, in words; undefined: it lives. */
  notAlive(): string | undefined;
  /** Why it does not work now, in words; undefined: it works. */
  notReady(): string | undefined;
}

export interface HealthServerOptions {
  checks: HealthChecks;
  address: Address;
  /** Names that it is called by, beside its addresses. */
  hosts?: readonly string[] | undefined;
  /** Prometheus text; default: no metrics. */
  metrics?: (() => Promise<string>) | undefined;
  log: Logger;
}

/** Serves `GET /healthz` and `GET /readyz`; false: `asked` is for something else. */
export function serveChecks({ route, response }: AdminRequest, checks: HealthChecks): boolean {
  const problem = (why: string | undefined, otherwise: string): true => {
    response.statusCode = why === undefined ? 200 : 503;
    response.setHeader('cache-control', 'no-store');
    response.end(`${why ?? otherwise}\n`);
    return true;
  };
  if (route === 'GET /healthz') return problem(checks.notAlive(), 'ok');
  if (route === 'GET /readyz') return problem(checks.notReady(), 'ready');
  return false;
}

export async function serveMetrics(
  { response }: AdminRequest,
  metrics: () => Promise<string>,
): Promise<void> {
  response.setHeader('content-type', 'text/plain; version=0.0.4; charset=utf-8');
  response.end(await metrics());
}

/** Errors: LAYBY_ADDRESS_IN_USE. */
export async function serveHealth(
  options: HealthServerOptions,
): Promise<{ server: Server; address: Address }> {
  const { address, checks, hosts, metrics, log } = options;
  const server = adminServer({ address, hosts, log }, async (asked) => {
    if (serveChecks(asked, checks)) return;
    if (metrics && asked.route === 'GET /metrics') return serveMetrics(asked, metrics);
    throw new LaybyError('LAYBY_NOT_FOUND', `nothing answers ${asked.route}`, {
      remedy: 'ask GET /healthz or GET /readyz; the rest is at the admin listener',
    });
  });
  return { server, address: await listen(server, address) };
}
