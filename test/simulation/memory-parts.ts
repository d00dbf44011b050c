// Small parts of the memory store: its options, its catalog, and its errors.

import type { BootClock } from '../../src/store/leveldb/boot-clock.ts';
import { Catalog } from '../../src/store/leveldb/catalog.ts';
import type { Entry } from '../../src/store/store.ts';
import { LaybyError } from '../../src/telemetry/error.ts';
import type { StoreFaults } from './memory-disk.ts';

export interface MemoryStoreOptions {
  /** Awaited for each operation of the disk. */
  disk: (label: string) => Promise<void>;
  faults?: StoreFaults;
  /** Whether a try of this entry is under way: it then shows as 'sending', and no rule takes it. */
  isInFlight?: (id: string) => boolean;
  /** Bytes of records and bodies; default: any number. */
  quota?: number;
  bootClock?: BootClock;
}

export const virtualClock: BootClock = {
  bootId: 'simulation',
  uptime: () => Math.floor(performance.now()),
  wall: () => Date.now(),
};

export class MemoryCatalog extends Catalog {
  /** A copy: what the reader does to it must not reach the disk. */
  override entry(...given: Parameters<Catalog['entry']>): Entry {
    const entry = super.entry(...given);
    return { ...entry, headers: [...entry.headers], trailers: [...entry.trailers] };
  }
}

export const full = (bytes: number): LaybyError =>
  new LaybyError('LAYBY_STORE_FULL', `${bytes} bytes more do not fit`, {
    remedy: 'Wait until replay has made room, or drop entries',
  });

export const damaged = (id: string, reason: string | undefined): LaybyError =>
  new LaybyError('LAYBY_ENTRY_DAMAGED', `Entry ${id} is damaged: ${reason}`, {
    remedy: 'It is quarantined and will not be sent; drop it when you have seen it',
  });
