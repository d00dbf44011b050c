// A try, by the strategy that fits the entry.

import type { Result, Strategy, Try } from './deliver.ts';
import { deliverByHttp } from './http.ts';
import { isBegun } from './s3/begun.ts';
import { deliverInParts } from './s3/multipart.ts';
import { deliverToS3 } from './s3/single.ts';
import { type StrategyName, strategyFor } from './strategy.ts';
import { deliverByTus, isTusBegun } from './tus.ts';

const STRATEGIES: Readonly<Record<StrategyName, Strategy>> = {
  http: deliverByHttp,
  s3: deliverToS3,
  's3-multipart': deliverInParts,
  tus: deliverByTus,
};

/** Rejects only with what the store says: LAYBY_ENTRY_DAMAGED, LAYBY_ENTRY_UNKNOWN, LAYBY_STORE_FAILED. */
export async function deliver(attempt: Try): Promise<Result> {
  const { store, destination, entry, goodput } = attempt;
  const progress = await store.progress(entry.id);
  const begun = isBegun(progress) || isTusBegun(progress);
  return STRATEGIES[strategyFor(destination, entry, { begun, rate: goodput.rate })](attempt);
}
