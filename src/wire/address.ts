// Addresses as operators write them: `HOST:PORT` or `unix:PATH`.

import { isIPv4 } from 'node:net';
import { LaybyError } from '../telemetry/error.ts';

export type Address = { unix: string } | { host: string; port: number };

/** sockaddr_un of Linux, less the byte that ends it. */
const LONGEST_PATH = 107;

/** Errors: LAYBY_ADDRESS_INVALID. `[::1]:80` is IPv6. */
export function parseAddress(text: string, what = 'address'): Address {
  if (text.startsWith('unix:')) return { unix: pathOf(text.slice(5), what) };
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:]*):(\d{1,5})$/.exec(text);
  const port = match ? Number(match[2]) : Number.NaN;
  if (!match || port > 65535) {
    throw new LaybyError('LAYBY_ADDRESS_INVALID', `${what} "${text}" is not an address`, {
      remedy: 'write HOST:PORT, for example 127.0.0.1:15001, or unix:PATH',
    });
  }
  const host = match[1]!.replace(/^\[|\]$/g, '') || '127.0.0.1';
  return { host, port };
}

function pathOf(path: string, what: string): string {
  if (path !== '' && Buffer.byteLength(path) <= LONGEST_PATH) return path;
  const message =
    path === ''
      ? 'has no path'
      : `has a path of ${Buffer.byteLength(path)} bytes: sockets have ${LONGEST_PATH} at most`;
  throw new LaybyError('LAYBY_ADDRESS_INVALID', `${what} "unix:${path}" ${message}`, {
    remedy: 'write unix:PATH with a shorter path, like unix:/run/layby/xds.sock',
  });
}

export const formatAddress = (address: Address): string =>
  'unix' in address
    ? `unix:${address.unix}`
    : `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;

/** Whether only this machine can reach it. */
export const isLocal = (address: Address): boolean =>
  'unix' in address ||
  address.host === 'localhost' ||
  address.host === '::1' ||
  (isIPv4(address.host) && address.host.startsWith('127.'));
