// A DurableFile in memory, whose writes end when the test says so.

import type { DurableFile } from '../../src/wire/durable-file.ts';

export interface MemoryFile extends DurableFile {
  /** Undefined: there is no file. */
  text: string | undefined;
  writes: number;
  /** Awaited before a write takes effect. */
  before: () => Promise<void>;
}

export const memoryFile = (text?: string): MemoryFile => {
  const file: MemoryFile = {
    path: '/memory/file.json',
    text,
    writes: 0,
    before: async () => {},
    read: () => file.text,
    replace: async (next) => {
      file.writes += 1;
      await file.before();
      file.text = next;
    },
    remove: async () => {
      file.text = undefined;
    },
  };
  return file;
};
