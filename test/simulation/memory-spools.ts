// Spools of the queue in a simulation: their files are buffers, and each operation takes the time of the simulated disk.

import type { FileHandle } from 'node:fs/promises';
import { DiskSpool } from '../../src/queue/disk-spool.ts';
import type { Spool, Spools } from '../../src/queue/spool.ts';

/** As in spool.ts. */
const BLOCK = 1024 * 1024;
const SMALLEST_BLOCK = 64 * 1024;
const GATHERED = 4 * 1024 * 1024;

export interface MemorySpoolsOptions {
  disk: (label: string) => Promise<void>;
  /** Whether the disk takes the next bytes; default: always. */
  takes?: (bytes: number) => boolean;
}

class MemoryFile {
  readonly #disk: (label: string) => Promise<void>;
  #bytes = Buffer.alloc(0);

  constructor(disk: (label: string) => Promise<void>) {
    this.#disk = disk;
  }

  async writev(pieces: readonly Buffer[], position: number): Promise<void> {
    const written = Buffer.concat(pieces);
    await this.#disk('spool write');
    this.#bytes = Buffer.concat([this.#bytes.subarray(0, position), written]);
  }

  async read(into: Buffer, offset: number, length: number, position: number): Promise<{ bytesRead: number }> {
    await this.#disk('spool read');
    return { bytesRead: this.#bytes.copy(into, offset, position, position + length) };
  }

  async close(): Promise<void> {
    await this.#disk('spool close');
    this.#bytes = Buffer.alloc(0);
  }
}

export class MemorySpools implements Spools {
  readonly #memory: MemorySpoolsOptions;
  /** Spools that are open. */
  open = 0;

  constructor(options: MemorySpoolsOptions) {
    this.#memory = options;
  }

  begin(): Spool {
    const { disk, takes = () => true } = this.#memory;
    this.open++;
    return new DiskSpool({
      encrypted: false,
      block: () => Math.min(BLOCK, Math.max(SMALLEST_BLOCK, GATHERED / this.open)),
      file: async () => {
        await disk('spool open');
        return new MemoryFile(disk) as unknown as FileHandle;
      },
      mayTake: async (bytes) => takes(bytes),
      closed: () => this.open--,
    });
  }
}
