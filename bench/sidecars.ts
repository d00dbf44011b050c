// Many sidecars of one control plane, real Envoys on Unix sockets: for what a change takes until all have it.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClientStatus } from '../src/control-plane/server/client.ts';
import { bootstrap } from '../src/embedded/bootstrap.ts';
import { findEnvoy } from '../src/parts/envoy.ts';
import type { Address } from '../src/wire/address.ts';

/** `dir`: of their sockets. `start`: starts a process, and ends it with the benchmark. */
export async function startSidecars(
  count: number,
  dir: string,
  xds: Address,
  start: (command: string, args: string[]) => unknown,
): Promise<void> {
  const at = (name: string) => join(dir, name);
  const envoy = await findEnvoy();
  for (let n = 0; n < count; n += 1) {
    const file = at(`envoy-${n}.json`);
    const json = bootstrap({
      node: `sidecar-${n}`,
      xds,
      admin: { unix: at(`envoy-${n}.sock`) },
      outbound: { unix: at(`outbound-${n}.sock`) },
      trustedCa: '/etc/ssl/certs/ca-certificates.crt',
    });
    await writeFile(file, JSON.stringify(json));
    start(envoy, ['-c', file, '--disable-hot-restart', '--log-level', 'error', '--concurrency', '1']);
  }
}

export const allUpToDate = (sidecars: readonly ClientStatus[], count: number): boolean =>
  sidecars.length === count && sidecars.every(({ upToDate }) => upToDate);
