// What the commands ask the admin listener.

import type { Readable } from 'node:stream';
import { Option } from 'commander';
import { request } from 'undici';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import { formatAddress, parseAddress } from '../wire/address.ts';

export const DEFAULT_ADMIN = '127.0.0.1:15000';

export const adminOption = () =>
  new Option('--admin <host:port>', 'the admin listener of a running Layby')
    .default(DEFAULT_ADMIN)
    .env('LAYBY_ADMIN');

type Answer = Awaited<ReturnType<typeof request>>;

/** Errors: LAYBY_ADMIN_AWAY where nothing answers, else what the listener said. */
export async function ask<T>(
  admin: string,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
): Promise<T> {
  const address = formatAddress(parseAddress(admin, '--admin'));
  return jsonOf<T>(
    await send(address, path, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }),
    address,
  );
}

/** The bytes of an answer, as they come. Errors: as of `ask`. */
export async function fetchBytes(admin: string, path: string): Promise<Readable> {
  const address = formatAddress(parseAddress(admin, '--admin'));
  const answer = await send(address, path, { method: 'GET' });
  if (answer.statusCode !== 200) await jsonOf(answer, address);
  return answer.body;
}

async function send(
  address: string,
  path: string,
  options: { method: 'GET' | 'POST'; body?: string },
): Promise<Answer> {
  try {
    // What goes over a million entries takes its time before it answers.
    return await request(`http://${address}${path}`, { ...options, headersTimeout: 0 });
  } catch (error) {
    throw new LaybyError('LAYBY_ADMIN_AWAY', `nothing answers at ${address} (${messageOf(error)})`, {
      remedy: 'start Layby with `layby up`, or name its admin listener with --admin HOST:PORT',
      cause: error,
    });
  }
}

async function jsonOf<T>(answer: Answer, address: string): Promise<T> {
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
