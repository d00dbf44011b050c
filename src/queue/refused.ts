// What destinations refuse again and again, as an operator sees it.

import type { RefusedEntries } from '../replay/delivery-ledger.ts';
import type { Store } from '../store/store.ts';
import { oneLine } from '../telemetry/one-line.ts';
import type { RefusedView } from '../wire/edge-service.ts';

/** Entries that are named for each destination; `layby queue ls` has them all. */
const NAMED = 5;

export async function refusedViews(
  store: Pick<Store, 'get'>,
  refused: Iterable<[destination: string, RefusedEntries]>,
): Promise<RefusedView[]> {
  const views: RefusedView[] = [];
  for (const [destination, { ids, behind, alone }] of [...refused]) {
    const oldest: RefusedView['oldest'] = [];
    for (const id of ids.slice(0, NAMED)) {
      const entry = await store.get(id);
      if (!entry) continue;
      const { method, url, attempts, stuck, lastError } = entry;
      oldest.push({
        ...{ id, request: oneLine(`${method} ${url}`), tries: attempts, lastError: lastError ?? null },
        since: stuck ? new Date(stuck.since).toISOString() : null,
      });
    }
    views.push({ destination, entries: ids.length, behind, alone, oldest });
  }
  return views;
}
