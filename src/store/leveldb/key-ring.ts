// The data keys of a store: a random one for each generation and one for the index, each in a file of its own in `keys/`,
// wrapped by the operator's key. A generation is encrypted if and only if there is a data key for it. Rotation wraps them
// anew and touches no body; a key goes when its generation goes, and no copy of its bytes can be read any more.

import { createHmac, randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LaybyError } from '../../telemetry/error.ts';
import { Cipher } from './cipher.ts';
import { syncDirectory } from './directory.ts';

/** The data key of the index. */
export const INDEX_KEY = 'index';
const NEW = '.new';
const OLD = '.old';

interface Wrapped {
  v: 1;
  /** Which key wraps it: a fingerprint. */
  by: string;
  /** Base64. */
  key: string;
}

export const generationKeyName = (number: number): string => String(number).padStart(8, '0');

const fingerprint = (key: Buffer): string =>
  createHmac('sha256', key).update('layby store key').digest('hex').slice(0, 16);

export class KeyRing {
  readonly #dir: string;
  readonly #key: Buffer | undefined;
  readonly #ciphers = new Map<string, Cipher>();
  #made = false;

  private constructor(dir: string, key: Buffer | undefined) {
    this.#dir = dir;
    this.#key = key;
  }

  /** `key`: the operator's, 32 bytes, where there is one. Errors: LAYBY_STORE_KEY_MISSING, LAYBY_STORE_KEY_WRONG. A key that is
   *  damaged on the disk is no error: what it opened then counts as damaged. */
  static async open(storeDir: string, key: Buffer | undefined): Promise<KeyRing> {
    const ring = new KeyRing(join(storeDir, 'keys'), key);
    const names = await ring.#names();
    ring.#made = names !== undefined;
    if (!names || names.length === 0) return ring;
    if (!key)
      throw new LaybyError('LAYBY_STORE_KEY_MISSING', `The store in ${storeDir} is encrypted`, {
        remedy: 'Name its key with --store-key FILE or --store-key exec:COMMAND',
      });
    const { keys, foreign } = await unwrapAll(ring.#dir, names, key);
    if (keys.size === 0 && foreign)
      throw new LaybyError('LAYBY_STORE_KEY_WRONG', `The key is not the one of the store in ${storeDir}`, {
        remedy: `Name the one with the fingerprint ${foreign}; \`layby store rekey\` changes it`,
      });
    for (const name of names) ring.#ciphers.set(name, new Cipher(keys.get(name) ?? randomBytes(32)));
    return ring;
  }

  /** New generations are to be encrypted. */
  get active(): boolean {
    return this.#key !== undefined;
  }

  get names(): string[] {
    return [...this.#ciphers.keys()];
  }

  /** undefined for what is not encrypted. */
  cipher(name: string): Cipher | undefined {
    return this.#ciphers.get(name);
  }

  /** A new data key, on the disk when this resolves; undefined without an operator's key. */
  async create(name: string): Promise<Cipher | undefined> {
    if (!this.#key) return undefined;
    if (!this.#made) {
      await mkdir(this.#dir, { recursive: true });
      await syncDirectory(join(this.#dir, '..'));
      this.#made = true;
    }
    const key = randomBytes(32);
    await writeWrapped(this.#dir, name, key, this.#key);
    await syncDirectory(this.#dir);
    const cipher = new Cipher(key);
    this.#ciphers.set(name, cipher);
    return cipher;
  }

  async drop(name: string): Promise<void> {
    if (!this.#ciphers.delete(name)) return;
    await rm(join(this.#dir, name), { force: true });
  }

  /** Finishes a rotation that was cut short. undefined where there is no key at all. */
  async #names(): Promise<string[] | undefined> {
    const list = (dir: string) => readdir(dir).catch(() => undefined);
    if (!(await list(this.#dir)) && (await list(this.#dir + OLD))) {
      // The new ones were all on the disk before the old ones were moved.
      await rename(this.#dir + ((await list(this.#dir + NEW)) ? NEW : OLD), this.#dir);
      await syncDirectory(join(this.#dir, '..'));
    }
    await rm(this.#dir + NEW, { recursive: true, force: true });
    await rm(this.#dir + OLD, { recursive: true, force: true });
    return (await list(this.#dir))?.filter((name) => !name.endsWith(NEW));
  }

  /** Wraps every data key with another key; resolves with how many. Either all of them are, or none. */
  async rewrap(next: Buffer): Promise<number> {
    const names = (await this.#names()) ?? [];
    const { keys } = await unwrapAll(this.#dir, names, this.#key!);
    const fresh = this.#dir + NEW;
    await mkdir(fresh);
    for (const [name, key] of keys) await writeWrapped(fresh, name, key, next);
    await syncDirectory(fresh);
    await rename(this.#dir, this.#dir + OLD);
    await rename(fresh, this.#dir);
    await syncDirectory(join(this.#dir, '..'));
    await rm(this.#dir + OLD, { recursive: true });
    return keys.size;
  }
}

/** Twice in the file, so that one flipped bit costs no generation. */
const writeWrapped = async (dir: string, name: string, key: Buffer, by: Buffer): Promise<void> => {
  const wrapped = new Cipher(by).seal(key, Buffer.from(name)).toString('base64');
  const line = `${JSON.stringify({ v: 1, by: fingerprint(by), key: wrapped } satisfies Wrapped)}\n`;
  const path = join(dir, name);
  const file = await open(path + NEW, 'w', 0o600);
  try {
    await file.writeFile(line + line);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(path + NEW, path);
};

/** `foreign`: the fingerprint of another key that wraps one of them. */
const unwrapAll = async (
  dir: string,
  names: string[],
  by: Buffer,
): Promise<{ keys: Map<string, Buffer>; foreign: string | undefined }> => {
  const keys = new Map<string, Buffer>();
  const unwrap = new Cipher(by);
  const own = fingerprint(by);
  let foreign: string | undefined;
  for (const name of names) {
    for (const line of (await readFile(join(dir, name), 'utf8')).split('\n')) {
      const wrapped = parse(line);
      if (!wrapped) continue;
      const key = unwrap.open(Buffer.from(wrapped.key, 'base64'), Buffer.from(name));
      if (key) keys.set(name, key);
      else if (wrapped.by !== own) foreign = wrapped.by;
    }
  }
  return { keys, foreign };
};

const parse = (line: string): Wrapped | undefined => {
  try {
    const wrapped = JSON.parse(line) as Partial<Wrapped>;
    return typeof wrapped.key === 'string' && typeof wrapped.by === 'string'
      ? (wrapped as Wrapped)
      : undefined;
  } catch {
    return undefined;
  }
};
