// Addresses as operators write them: `HOST:PORT` or `unix:PATH`.

import { isIPv4 } from 'node:net';
import { LaybyError } from '../telemetry/error.ts';

export type Address = { unix: string } | { host: string; port: number };

/** Errors: LAYBY_ADDRESS_INVALID. `[::1]:80` is IPv6. */
export function parseAddress(text: string, what = 'address'): Address {
  if (text.startsWith('unix:')) return { unix: text.slice(5) };
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
