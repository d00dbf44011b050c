// What the commands ask the admin listener.

import { Option } from 'commander';
import { request } from 'undici';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import { formatAddress, parseAddress } from '../wire/address.ts';

export const DEFAULT_ADMIN = '127.0.0.1:15000';

export const adminOption = () =>
  new Option('--admin <host:port>', 'the admin listener of a running Layby')
    .default(DEFAULT_ADMIN)
    .env('LAYBY_ADMIN');

/** Errors: LAYBY_ADMIN_AWAY where nothing answers, else what the listener said. */
export async function ask<T>(
  admin: string,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
): Promise<T> {
  const address = formatAddress(parseAddress(admin, '--admin'));
  let answer: Awaited<ReturnType<typeof request>>;
  try {
    answer = await request(`http://${address}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch (error) {
    throw new LaybyError('LAYBY_ADMIN_AWAY', `nothing answers at ${address} (${messageOf(error)})`, {
      remedy: 'start Layby with `layby up`, or name its admin listener with --admin HOST:PORT',
      cause: error,
    });
  }
  let said: unknown;
  try {
    said = await answer.body.json();
  } catch (error) {
    throw new LaybyError('LAYBY_ADMIN_AWAY', `what answers at ${address} is no admin listener of Layby`, {
      remedy: 'name the right one with --admin HOST:PORT',
      cause: error,
    });
  }
  if (answer.statusCode >= 400) {
    const { code, message, remedy } = said as { code: string; message: string; remedy?: string };
    throw new LaybyError(code, message, remedy === undefined ? {} : { remedy });
  }
  return said as T;
}
