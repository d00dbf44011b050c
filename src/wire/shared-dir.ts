// The directory in which the control plane and the queue of one edge node leave what the other must know after a restart, before the
// two have met. Each file has one writer.

import { dirname, join, resolve } from 'node:path';
import { type DurableFile, durableFile } from './durable-file.ts';

/** Where it is by default: beside the data directory of either part, so that `DATA/queue` and `DATA/control-plane` share one. */
export const sharedDirOf = (dataDir: string): string => join(dirname(resolve(dataDir)), 'shared');

const PENDING_LANES = 'pending-lanes.json';
const LINKS = 'links.json';
/** All that is in it. */
export const SHARED_FILES = [PENDING_LANES, LINKS];

/** Written by the queue (pending-lanes.ts). */
export const pendingLanesFile = (shared: string): DurableFile => durableFile(join(shared, PENDING_LANES));

/** Written by the control plane (link-memory.ts). */
export const linkMemoryFile = (shared: string): DurableFile => durableFile(join(shared, LINKS));
