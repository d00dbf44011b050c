// Values of the index and of small files: JSON behind its CRC32C, since LevelDB does not check what it reads. The key that a value
// stands under seeds the sum, so one in another's place does not pass. What holds words of apps and servers (URLs, reasons)
// is encrypted where the store has a key; ids, sizes and times are not.

import { crc32c } from '@node-rs/crc32';
import type { Cipher } from './cipher.ts';

/** No CRC32C in hex begins with it. */
const SECRET = '!';

const sum = (json: string, key: string): number => crc32c(key + json);

export const seal = (value: unknown, key = ''): string => {
  const json = JSON.stringify(value);
  return sum(json, key).toString(16).padStart(8, '0') + json;
};

export const sealSecret = (value: unknown, key: string, cipher: Cipher | undefined): string =>
  cipher
    ? SECRET + cipher.seal(Buffer.from(JSON.stringify(value)), Buffer.from(key)).toString('base64')
    : seal(value, key);

/** undefined where there is nothing, or nothing that can be trusted. */
export const unseal = <T>(sealed: string | undefined, key?: string, cipher?: Cipher): T | undefined => {
  const json = unsealText(sealed, key, cipher);
  return json === undefined ? undefined : (JSON.parse(json) as T);
};

/** The JSON itself. */
export const unsealText = (sealed: string | undefined, key = '', cipher?: Cipher): string | undefined => {
  if (sealed === undefined) return undefined;
  if (sealed.startsWith(SECRET))
    return cipher?.open(Buffer.from(sealed.slice(1), 'base64'), Buffer.from(key))?.toString();
  const json = sealed.slice(8);
  const found = Number.parseInt(sealed.slice(0, 8), 16);
  // The second: as format 1 had it.
  return found === sum(json, key) || found === crc32c(json) ? json : undefined;
};
