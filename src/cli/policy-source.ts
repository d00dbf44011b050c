// The policy that a command is about: of files, or in force in a running mesh; and the sidecars that get it.

import type { Sidecar } from '../control-plane/resources/sidecar.ts';
import { ASSUMED_QUEUE, assumedSidecar } from '../embedded/assumed.ts';
import type { App } from '../policy/in-force.ts';
import { parsePolicy } from '../policy/parse.ts';
import type { Policy } from '../policy/policy.ts';
import { readPolicyFiles } from '../policy/sources/files.ts';
import { LaybyError } from '../telemetry/error.ts';
import type { Address } from '../wire/address.ts';
import { ask } from './admin-client.ts';

export interface Source {
  policy: Policy;
  queue: Address;
  /** None: nothing runs, any node may be assumed. */
  sidecars: { node: string; sidecar: Sidecar }[];
}

export const fromFiles = async (paths: readonly string[]): Promise<Source> => ({
  policy: parsePolicy(await readPolicyFiles(paths)),
  queue: ASSUMED_QUEUE,
  sidecars: [],
});

/** Errors: LAYBY_ADMIN_AWAY, LAYBY_POLICY_UNREADABLE. */
export async function fromMesh(admin: string): Promise<Source> {
  const source = await ask<Omit<Source, 'policy'> & { policy: Policy | null }>(admin, 'GET', '/v1/policy');
  if (!source.policy)
    throw new LaybyError('LAYBY_POLICY_UNREADABLE', 'no policy is in force there', {
      remedy: 'name policy files with --policy FILE',
    });
  return source as Source;
}

export const sourceOf = ({ policy, admin }: { policy?: string[]; admin: string }): Promise<Source> =>
  policy ? fromFiles(policy) : fromMesh(admin);

/** The sidecar of that name; where nothing runs, one as `layby up` has it. Errors: LAYBY_NODE_UNKNOWN. */
export function sidecarNamed({ sidecars }: Source, node: string, labels: readonly string[]): Sidecar {
  if (sidecars.length === 0) return assumedSidecar({ node, labels: [...labels].sort() });
  const found = sidecars.find((each) => each.node === node);
  if (found) return found.sidecar;
  throw new LaybyError('LAYBY_NODE_UNKNOWN', `no sidecar that is connected calls itself ${node}`, {
    remedy: `connected are ${sidecars.map((each) => each.node).join(', ')}; with --policy FILE any may be assumed`,
  });
}

/** Of a sidecar that is connected, what it says; else what the command line says. */
export function appOf({ sidecars }: Source, node: string | undefined, labels: readonly string[]): App {
  const only = sidecars.length === 1 ? sidecars[0] : undefined;
  const found = node === undefined ? only : sidecars.find((each) => each.node === node);
  return found?.sidecar.app ?? { node: node ?? 'local', labels: [...labels].sort() };
}
