// The last policy that was good, kept on the disk: what a machine starts with when it boots without signal and without
// its source of policy. When to save is for who puts a policy in force.

import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import type { Policy } from './policy.ts';
import { replaceFile } from './replace-file.ts';
import { policyVersion } from './version.ts';

const FILE = 'policy.last-good.json';
// Raised when Policy changes its shape: an older file then counts as damaged, and is never half understood.
const FORMAT = 1;

const damaged = (path: string, reason: string, cause?: unknown) =>
  new LaybyError(
    'LAYBY_POLICY_LAST_GOOD_DAMAGED',
    `the last good policy in ${path} cannot be used: ${reason}`,
    {
      remedy: 'start with the policy files, or remove this file to start without a policy',
      cause,
    },
  );

const write = async (dir: string, policy: Policy): Promise<void> => {
  await mkdir(dir, { recursive: true });
  await replaceFile(join(dir, FILE), `${JSON.stringify({ format: FORMAT, ...policy })}\n`);
};

// One at a time per directory, so that the policy saved last is the one that stays.
const saving = new Map<string, Promise<void>>();

/** Resolves when a power cut can no longer take it. Rejects with LAYBY_POLICY_LAST_GOOD_UNWRITABLE. */
export const saveLastGood = async (dir: string, policy: Policy): Promise<void> => {
  const before = saving.get(dir);
  const mine = (async () => {
    await before?.catch(() => {});
    await write(dir, policy);
  })();
  saving.set(dir, mine);
  try {
    await mine;
  } catch (cause) {
    throw new LaybyError(
      'LAYBY_POLICY_LAST_GOOD_UNWRITABLE',
      `the policy could not be saved in ${dir}: ${messageOf(cause)}`,
      { remedy: 'make the directory writable and see that the disk has room', cause },
    );
  } finally {
    if (saving.get(dir) === mine) saving.delete(dir);
  }
};

const isPolicy = (saved: Partial<Policy>): saved is Omit<Policy, 'version'> =>
  Array.isArray(saved.destinations);

/** Undefined where none was saved. Throws LAYBY_POLICY_LAST_GOOD_DAMAGED where one was, but cannot be trusted. */
export const loadLastGood = (dir: string): Policy | undefined => {
  const path = join(dir, FILE);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw damaged(path, messageOf(thrown), thrown);
  }
  let saved: Partial<Policy & { format: number }> | null;
  try {
    saved = JSON.parse(text);
  } catch (thrown) {
    throw damaged(path, 'it is not JSON', thrown);
  }
  if (saved?.format !== FORMAT) throw damaged(path, 'it was written by another version of Layby');
  const { format: _, version, ...policy } = saved;
  if (!version || !isPolicy(policy) || policyVersion(policy) !== version)
    throw damaged(path, 'its content does not have the hash that it names');
  return { version, ...policy };
};
