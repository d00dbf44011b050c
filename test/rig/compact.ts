// Moves what a LevelDB has in its log into a table, as many restarts would.

import { Level } from 'level';

/** `path`: its directory; nobody may have it open. */
export const compact = async (path: string): Promise<void> => {
  // Of LevelDB, not of the universal interface that `level` is typed as.
  const db = new Level(path, { compression: false }) as Level & {
    compactRange(start: string, end: string): Promise<void>;
  };
  await db.open();
  await db.compactRange('', '~');
  await db.close();
};
