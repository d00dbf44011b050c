// A small file of which one part writes what another one reads after a restart. It is an interface so that a test can keep it in memory.

import { readFileSync } from 'node:fs';
import { mkdir, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { replaceFile } from '../policy/replace-file.ts';

export interface DurableFile {
  /** Shown to operators. */
  readonly path: string;
  /** The whole text; undefined where there is no such file. Throws what the file system says. */
  read(): string | undefined;
  /** Resolves when a power cut can no longer take it. One call at a time. Rejects with what the file system says. */
  replace(text: string): Promise<void>;
  /** Resolves when a power cut cannot bring it back. One call at a time, and none beside `replace`. */
  remove(): Promise<void>;
}

const sync = async (path: string): Promise<void> => {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
};

/** The directory is made when the file is first written. */
export function durableFile(path: string): DurableFile {
  const dir = dirname(path);
  return {
    path,
    read() {
      try {
        return readFileSync(path, 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      }
    },
    async replace(text) {
      const made = await mkdir(dir, { recursive: true });
      // The new directory's own name is safe only after its parent is.
      if (made !== undefined) await sync(dirname(made));
      await replaceFile(path, text);
    },
    async remove() {
      await rm(path, { force: true });
      await sync(dir).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
    },
  };
}
