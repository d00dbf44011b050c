// What the commands ask the admin listener.

import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { Option } from 'commander';
import type { Dispatcher } from 'undici';
import { type ErrorView, LaybyError, messageOf } from '../telemetry/error.ts';
import { formatAddress, parseAddress } from '../wire/address.ts';
import { poolTo } from '../wire/http.ts';

export const DEFAULT_ADMIN = '127.0.0.1:15000';

export const adminOption = () =>
  new Option('--admin <address>', 'the admin listener of a running Layby, HOST:PORT or unix:PATH')
    .default(DEFAULT_ADMIN)
    .env('LAYBY_ADMIN');

/** Of what listens; what asks takes the variable alone. */
export const adminTokenOption = () =>
  new Option(
    '--admin-token-file <file>',
    'a token that requests to the admin listener must bear; needed where other machines can reach it',
  ).env('LAYBY_ADMIN_TOKEN_FILE');

const HOST_NAME = /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/i;

/** Of what listens. Errors: LAYBY_ADDRESS_INVALID. */
export const adminHostOption = () =>
  new Option(
    '--admin-host <name>',
    'another name that the admin listener is called by, without port; may be repeated',
  )
    .default([], 'its address, and localhost')
    .argParser((name: string, before: string[]) => {
      if (HOST_NAME.test(name)) return [...before, name];
      throw new LaybyError('LAYBY_ADDRESS_INVALID', `--admin-host "${name}" is not a host name`, {
        remedy: 'write a name without port, like layby.vehicle.example',
      });
    });

/** What stands in a token file. Errors: LAYBY_ADMIN_TOKEN_UNREADABLE. */
export function readToken(file: string): string {
  let token = '';
  let cause: unknown;
  try {
    token = readFileSync(file, 'utf8').trim();
  } catch (thrown) {
    cause = thrown;
  }
  if (/^[\x21-\x7e]{16,}$/.test(token)) return token;
  throw new LaybyError(
    'LAYBY_ADMIN_TOKEN_UNREADABLE',
    `there is no token in ${file}${cause === undefined ? '' : ` (${messageOf(cause)})`}`,
    { remedy: 'put at least 16 letters and digits there, and nothing else: openssl rand -hex 32', cause },
  );
}

type Answer = Dispatcher.ResponseData;

/** Errors: LAYBY_ADMIN_AWAY where nothing answers, else what the listener said. */
export async function ask<T>(
  admin: string,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
  tokenFile?: string,
): Promise<T> {
  const answer = await send(admin, path, {
    ...(tokenFile === undefined ? {} : { tokenFile }),
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return jsonOf<T>(answer, admin);
}

/** The bytes of an answer, as they come. Errors: as of `ask`. */
export async function fetchBytes(admin: string, path: string): Promise<Readable> {
  const answer = await send(admin, path, { method: 'GET' });
  if (answer.statusCode !== 200) await jsonOf(answer, admin);
  return answer.body;
}

async function send(
  admin: string,
  path: string,
  {
    tokenFile = process.env.LAYBY_ADMIN_TOKEN_FILE,
    ...options
  }: { method: 'GET' | 'POST'; body?: string; tokenFile?: string },
): Promise<Answer> {
  const address = parseAddress(admin, '--admin');
  const headers = {
    // Also without a body: the listener takes nothing else that changes something.
    ...(options.method === 'POST' && { 'content-type': 'application/json' }),
    ...(tokenFile && { authorization: `Bearer ${readToken(tokenFile)}` }),
  };
  try {
    // What goes over a million entries takes its time before it answers.
    return await poolTo(address, { connections: 1 }).request({
      ...options,
      path,
      headers,
      headersTimeout: 0,
    });
  } catch (error) {
    throw new LaybyError(
      'LAYBY_ADMIN_AWAY',
      `nothing answers at ${formatAddress(address)} (${messageOf(error)})`,
      {
        remedy: 'start Layby with `layby up`, or name its admin listener with --admin HOST:PORT',
        cause: error,
      },
    );
  }
}

async function jsonOf<T>(answer: Answer, admin: string): Promise<T> {
  let said: unknown;
  try {
    said = await answer.body.json();
  } catch (error) {
    throw new LaybyError('LAYBY_ADMIN_AWAY', `what answers at ${admin} is no admin listener of Layby`, {
      remedy: 'name the right one with --admin HOST:PORT',
      cause: error,
    });
  }
  if (answer.statusCode >= 400) {
    const view = said as ErrorView;
    throw new LaybyError(view.code, view.message, view);
  }
  return said as T;
}
