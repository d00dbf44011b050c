// HTTP between Layby's own parts: listening, and a client, on either kind of address.

import { rm } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { Pool } from 'undici';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import { type Address, formatAddress } from './address.ts';

/** Connections that wait to be taken, as many as apps may have at once: a Unix socket refuses one more at once, and the sidecar cannot
 *  send a large body again. The kernel's own bound is net.core.somaxconn, 4,096 by default. Node's default is 511. */
const BACKLOG = 4096;

/** An HTTP client to an address of Layby's own. */
export const poolTo = (address: Address, options: Pool.Options = {}): Pool =>
  'unix' in address
    ? new Pool('http://layby', { connections: 8, ...options, socketPath: address.unix })
    : new Pool(`http://${formatAddress(address)}`, { connections: 8, ...options });

/** A part that was killed leaves its socket behind: it is removed, unless somebody still listens on it. */
export async function removeStaleSocket(address: Address): Promise<void> {
  if (!('unix' in address)) return;
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(address.unix, () => {
      probe.destroy();
      resolve(true);
    });
    probe.on('error', () => resolve(false));
  });
  if (!alive) await rm(address.unix, { force: true });
}

/** Errors: LAYBY_ADDRESS_IN_USE, with the remedy. */
export async function listen(server: Server, address: Address): Promise<Address> {
  await removeStaleSocket(address);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      const where = 'unix' in address ? { path: address.unix } : { port: address.port, host: address.host };
      server.listen({ ...where, backlog: BACKLOG }, resolve);
    });
  } catch (error) {
    throw new LaybyError(
      'LAYBY_ADDRESS_IN_USE',
      `cannot listen on ${formatAddress(address)} (${messageOf(error)})`,
      {
        remedy: 'end what uses it, or choose another address',
        cause: error,
      },
    );
  }
  const bound = server.address();
  return 'unix' in address || bound === null || typeof bound === 'string'
    ? address
    : { host: address.host, port: bound.port };
}
