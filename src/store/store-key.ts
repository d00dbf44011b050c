// The key that the operator holds: 32 bytes in a file, or from a command, so that a TPM or a KMS can keep it. What is encrypted
// with it, the store knows.

import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { LaybyError, messageOf } from '../telemetry/error.ts';

const KEY_BYTES = 32;
const EXEC = 'exec:';
/** A TPM takes seconds, ms. */
const PATIENCE_MS = 30_000;

/** `FILE` or `exec:COMMAND`; what is there is 32 bytes, raw, in hex or in base64. Errors: LAYBY_STORE_KEY_UNREADABLE. */
export const readStoreKey = async (from: string): Promise<Buffer> => {
  let content: Buffer;
  try {
    content = from.startsWith(EXEC) ? await run(from.slice(EXEC.length)) : await readFile(from);
  } catch (cause) {
    throw unreadable(`The key of the store cannot be had from ${from}: ${messageOf(cause)}`, cause);
  }
  const text = content.toString('latin1').trim();
  if (content.length === KEY_BYTES) return content;
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex');
  const decoded = Buffer.from(text, 'base64');
  if (/^[A-Za-z0-9+/_-]{43}=?$/.test(text) && decoded.length === KEY_BYTES) return decoded;
  throw unreadable(`What ${from} holds is no key: it has ${content.length} bytes`);
};

const run = async (command: string): Promise<Buffer> => {
  const options = { encoding: 'buffer', timeout: PATIENCE_MS, maxBuffer: 64 * 1024 } as const;
  return (await promisify(execFile)('/bin/sh', ['-c', command], options)).stdout;
};

const unreadable = (what: string, cause?: unknown): LaybyError =>
  new LaybyError('LAYBY_STORE_KEY_UNREADABLE', what, {
    remedy: 'Give 32 bytes, raw, in hex or in base64; `openssl rand -hex 32` makes some',
    cause,
  });
