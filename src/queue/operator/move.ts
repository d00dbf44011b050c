// Moves entries to another destination of the policy, which then delivers them: after a destination was renamed or removed, or after a
// host went to another one. Bytes go only where the policy says (law 4): the host of an entry must be one of the new destination.

import type { Destination, Policy } from '../../policy/policy.ts';
import { authorityOf, hostIn, servesHost } from '../../policy/serves.ts';
import type { Entry, Store } from '../../store/store.ts';
import { LaybyError } from '../../telemetry/error.ts';
import type { Backlog } from '../backlog.ts';
import type { Act } from './act.ts';
import { placementIn } from './placement.ts';

/** Errors: LAYBY_DESTINATION_UNKNOWN where the policy names no such destination, LAYBY_REQUEST_INVALID. */
export function move(
  store: Store,
  backlog: Backlog,
  policy: Policy | undefined,
  to: string | undefined,
): Act {
  if (!to)
    throw new LaybyError('LAYBY_REQUEST_INVALID', 'the destination to move to is missing', {
      remedy: 'name it with --to NAME',
    });
  const destination = policy?.destinations.find(({ name }) => name === to);
  if (!policy || !destination)
    throw new LaybyError('LAYBY_DESTINATION_UNKNOWN', `the policy names no destination ${to}`, {
      remedy: `the destinations are: ${policy?.destinations.map(({ name }) => name).join(', ') || 'none'}`,
    });
  const uploads = new Map<string, Promise<void>>();
  return {
    fits: ({ state, destination: from }) =>
      from !== to && (state === 'stored' || state === 'dead' || state === 'staged'),
    misfit: ({ url }) => {
      const host = hostIn(authorityOf(url));
      return servesHost(policy, destination, host) ? undefined : host;
    },
    run: async (entry, detail) => {
      // From then on it must not be overtaken in the other lane.
      if (entry.group === undefined)
        return backlog.holding(to, () => moveEntry(store, destination, entry, detail));
      const upload = uploads.get(entry.group) ?? moveUpload(store, destination, entry, entry.group, detail);
      uploads.set(entry.group, upload);
      await upload;
      return (await store.get(entry.id))?.destination === to;
    },
  };
}

const moveEntry = (store: Store, destination: Destination, entry: Entry, detail: string): Promise<boolean> =>
  store.move(
    entry.id,
    {
      from: entry.destination,
      destination: destination.name,
      ...placementIn(destination, entry, entry.url),
    },
    `${detail}: ${entry.destination} → ${destination.name}`,
  );

/** All of a multipart upload, whatever was selected of it. Its first entry, by which the upload is found, moves last: to the app the
 *  upload is at the one destination or the other. */
async function moveUpload(
  store: Store,
  destination: Destination,
  { destination: from }: Entry,
  group: string,
  detail: string,
): Promise<void> {
  // The newest first.
  for await (const part of store.staged(from, group)) await moveEntry(store, destination, part, detail);
}
