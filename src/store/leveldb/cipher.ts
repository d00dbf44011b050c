// AES-256-GCM for one value at a time: 12 bytes nonce, 16 bytes tag, then the bytes. Where the value stands is part of what is
// authenticated, so one that was moved does not open. Nonces are random: counters are given again after a power cut.

import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  randomFillSync,
} from 'node:crypto';

const NONCE = 12;
const TAG = 16;
const ALGORITHM = 'aes-256-gcm';

/** Random bytes for this many nonces are drawn at once. */
const DRAWN = 256;
const pool = Buffer.alloc(NONCE * DRAWN);
let drawn = DRAWN;

const newNonce = (): Buffer => {
  if (drawn === DRAWN) {
    randomFillSync(pool);
    drawn = 0;
  }
  const at = NONCE * drawn++;
  return pool.subarray(at, at + NONCE);
};

export class Cipher {
  readonly #key: KeyObject;

  /** `key`: 32 bytes. */
  constructor(key: Buffer) {
    this.#key = createSecretKey(key);
  }

  seal(plain: Buffer, place: Buffer): Buffer {
    const nonce = newNonce();
    const cipher = createCipheriv(ALGORITHM, this.#key, nonce, { authTagLength: TAG });
    cipher.setAAD(place);
    const secret = cipher.update(plain);
    cipher.final();
    return Buffer.concat([nonce, cipher.getAuthTag(), secret]);
  }

  /** undefined for what was not sealed with this key for this place, or is damaged. */
  open(sealed: Buffer, place: Buffer): Buffer | undefined {
    if (sealed.length < NONCE + TAG) return undefined;
    const decipher = createDecipheriv(ALGORITHM, this.#key, sealed.subarray(0, NONCE), {
      authTagLength: TAG,
    });
    decipher.setAAD(place);
    decipher.setAuthTag(sealed.subarray(NONCE, NONCE + TAG));
    const plain = decipher.update(sealed.subarray(NONCE + TAG));
    try {
      decipher.final();
      return plain;
    } catch {
      return undefined;
    }
  }
}
