// Values of the index: JSON behind its CRC32C, since LevelDB does not check what it reads.

import { crc32c } from '@node-rs/crc32';

export const seal = (value: unknown): string => {
  const json = JSON.stringify(value);
  return crc32c(json).toString(16).padStart(8, '0') + json;
};

/** undefined where there is nothing, or nothing that can be trusted. */
export const unseal = <T>(sealed: string | undefined): T | undefined => {
  if (sealed === undefined) return undefined;
  const json = sealed.slice(8);
  return Number.parseInt(sealed.slice(0, 8), 16) === crc32c(json) ? (JSON.parse(json) as T) : undefined;
};
