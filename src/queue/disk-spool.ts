// A spool on the disk: a file without a name, so that a crash leaves nothing, and without a sync, since nobody has a receipt for it. Through
// the store each MB would cost several times the CPU, and twice the flash, to be thrown away when the destination answers. Most spools
// are gone before the kernel has written them anywhere.

import { type Cipheriv, createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { reserveOf } from '../store/leveldb/space.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import type { Spool, Spools } from './spool.ts';

/** Written, and read, in one go; smaller where many spools share the memory below. */
const BLOCK = 1024 * 1024;
const SMALLEST_BLOCK = 64 * 1024;
/** Gathered by all spools together, bytes. Each has one block on its way to the disk and gathers the next. */
const GATHERED = 4 * 1024 * 1024;
/** The disk is asked anew after so much, bytes. */
const LOOK_AFTER = 16 * 1024 * 1024;
const CIPHER = 'aes-256-ctr';
const CIPHER_BLOCK = 16;

/** Counter mode: the initial value and so many blocks, as one large number. */
const counterAt = (iv: Buffer, blocks: number): Buffer => {
  const counter = (BigInt(`0x${iv.toString('hex')}`) + BigInt(blocks)) & ((1n << 128n) - 1n);
  return Buffer.from(counter.toString(16).padStart(CIPHER_BLOCK * 2, '0'), 'hex');
};

export interface DiskSpoolsOptions {
  /** Made where it is missing. */
  dir: string;
  /** Bytes of the disk that are left free, as the store leaves them. */
  reserve?: number | undefined;
  /** With a key that nobody but this process ever has. */
  encrypted: boolean;
}

export class DiskSpools implements Spools {
  readonly #options: DiskSpoolsOptions;
  #open = 0;
  #made = 0;
  #taken = LOOK_AFTER;

  constructor(options: DiskSpoolsOptions) {
    this.#options = options;
  }

  begin(): Spool {
    this.#open++;
    return new DiskSpool({
      encrypted: this.#options.encrypted,
      block: () => Math.min(BLOCK, Math.max(SMALLEST_BLOCK, GATHERED / this.#open)),
      file: () => this.#file(),
      mayTake: (bytes) => this.#mayTake(bytes),
      closed: () => this.#open--,
    });
  }

  async #file(): Promise<FileHandle> {
    const { dir } = this.#options;
    const path = join(dir, `${process.pid}-${++this.#made}`);
    const create = () => open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
    const file = await create().catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      await mkdir(dir, { recursive: true });
      return create();
    });
    await rm(path);
    return file;
  }

  /** Whether the reserve of the disk is left alone. Only a good answer holds for the next bytes: a disk that was full, or did not answer, is
   *  asked again for each block. */
  async #mayTake(bytes: number): Promise<boolean> {
    this.#taken += bytes;
    if (this.#taken < LOOK_AFTER) return true;
    this.#taken = LOOK_AFTER;
    const disk = await statfs(this.#options.dir);
    const isRoomy = disk.bavail * disk.bsize - LOOK_AFTER > reserveOf(disk, this.#options.reserve);
    if (isRoomy) this.#taken = 0;
    return isRoomy;
  }
}

export interface DiskSpoolHost {
  encrypted: boolean;
  block: () => number;
  file: () => Promise<FileHandle>;
  mayTake: (bytes: number) => Promise<boolean>;
  closed: () => void;
}

/** `host`: what it has of the disk; a simulation brings its own. */
export class DiskSpool implements Spool {
  readonly #host: DiskSpoolHost;
  readonly #secret: { key: Buffer; iv: Buffer; cipher: Cipheriv } | undefined;
  #file: FileHandle | undefined;
  #gathered: Buffer[] = [];
  #gatheredBytes = 0;
  #writing: Promise<void> | undefined;
  #written = 0;
  #bytes = 0;
  #closed = false;
  #failure: LaybyError | undefined;

  constructor(host: DiskSpoolHost) {
    this.#host = host;
    if (!host.encrypted) return;
    const [key, iv] = [randomBytes(32), randomBytes(16)];
    this.#secret = { key, iv, cipher: createCipheriv(CIPHER, key, iv) };
  }

  get bytes(): number {
    return this.#bytes;
  }

  write(piece: Buffer): Promise<void> | undefined {
    this.#bytes += piece.length;
    if (this.#failure || this.#closed) return undefined;
    this.#gathered.push(piece);
    this.#gatheredBytes += piece.length;
    if (this.#gatheredBytes < this.#host.block()) return undefined;
    if (this.#writing) return this.#writing.then(() => void this.#flush());
    this.#flush();
    return undefined;
  }

  #flush(): Promise<void> {
    const pieces = this.#gathered;
    const bytes = this.#gatheredBytes;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    const before = this.#writing;
    const writing = (async () => {
      await before;
      if (bytes > 0 && !this.#failure && !this.#closed) await this.#write(pieces, bytes);
    })().finally(() => {
      if (this.#writing === writing) this.#writing = undefined;
    });
    this.#writing = writing;
    return writing;
  }

  async #write(pieces: Buffer[], bytes: number): Promise<void> {
    try {
      this.#file ??= await this.#host.file();
      if (!(await this.#host.mayTake(bytes))) throw new Error('the disk has no room above the reserve');
      const sealed = this.#secret ? pieces.map((piece) => this.#secret!.cipher.update(piece)) : pieces;
      await this.#file.writev(sealed, this.#written);
      this.#written += bytes;
    } catch (cause) {
      this.#failure = new LaybyError(
        'LAYBY_STORE_FULL',
        `What had come of the body could not be kept: ${messageOf(cause)}`,
        { remedy: 'Free space on the disk', cause },
      );
      await this.close();
    }
  }

  async *read({
    start = 0,
    end = this.#bytes,
  }: {
    start?: number;
    end?: number;
  } = {}): AsyncGenerator<Buffer> {
    await this.#flush();
    if (this.#failure) throw this.#failure;
    const { key, iv } = this.#secret ?? {};
    // The cipher counts blocks: what stands before `start` in its own is read too, and left out.
    const before = key ? start % CIPHER_BLOCK : 0;
    const cipher = key && createDecipheriv(CIPHER, key, counterAt(iv!, (start - before) / CIPHER_BLOCK));
    for (let at = start - before; at < end; ) {
      const block = Buffer.allocUnsafeSlow(Math.min(BLOCK, end - at));
      if (!this.#file) throw new Error('the spool was closed while it was read');
      const { bytesRead } = await this.#file.read(block, 0, block.length, at);
      if (bytesRead === 0) throw new Error(`the spool ends at ${at} instead of ${end}`);
      const piece = block.subarray(0, bytesRead);
      const plain = cipher ? cipher.update(piece) : piece;
      yield at < start ? plain.subarray(start - at) : plain;
      at += bytesRead;
    }
  }

  async close(): Promise<void> {
    if (!this.#closed) this.#host.closed();
    this.#closed = true;
    this.#gathered = [];
    // After a failure it is the write under way that closes it.
    if (!this.#failure) await this.#writing;
    const file = this.#file;
    this.#file = undefined;
    // Of what was never synced nobody asks whether it could be written.
    await file?.close().catch(() => {});
  }
}
