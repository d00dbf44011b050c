// Names of lanes that outlive a restart, in a small file.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { checkedJson, readCheckedJson } from '../wire/checked-json.ts';

const FORMAT = 1;

export interface LaneNames {
  /** undefined: they cannot be known. */
  load(): string[] | undefined;
  /** Throws what the file system says. */
  save(names: readonly string[]): void;
}

/** Saved before the policy that makes the names, in the same directory: whatever syncs that policy's name syncs this one too. Without a file
 *  there are none; one that is damaged or cannot be read does not say. */
export const laneNamesIn = (file: string): LaneNames => ({
  load: () => {
    try {
      const names = readCheckedJson(FORMAT, readFileSync(file, 'utf8'));
      return Array.isArray(names) && names.every((name) => typeof name === 'string') ? names : undefined;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ENOENT' ? [] : undefined;
    }
  },
  save: (names) => {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(`${file}.tmp`, checkedJson(FORMAT, names), { flush: true });
    renameSync(`${file}.tmp`, file);
  },
});
