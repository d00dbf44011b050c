// The suite that every store must pass, on LevelDB: with generations as they ship, and with ones so small that every test
// rolls, removes and copies them.

import t from 'tap';
import { conformance } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';

t.test('the LevelDB store keeps the contract', (test) =>
  conformance(test, (dir, isInFlight) => openStore(dir, { isInFlight })),
);

t.test('and keeps it with generations of 64 KiB', (test) =>
  conformance(test, (dir, isInFlight) => openStore(dir, { isInFlight, generationBytes: 64 * 1024 })),
);
