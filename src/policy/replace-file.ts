// A small file that is always whole on the disk: the old one or the new one, also after a power cut.

import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Resolves when a power cut can no longer take it. One call at a time for each path. Rejects with what the file system says. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const draft = `${path}.tmp`;
  const file = await open(draft, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
  // The name is safe only after the directory is.
  const directory = await open(dirname(path), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
