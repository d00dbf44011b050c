// What any store must do, as tests: call it with a tap test and a way to open the store in a directory. It knows the contract
// in store.ts and nothing of any implementation.

import type { Test } from 'tap';
import { bodies } from './conformance/bodies.ts';
import { fates } from './conformance/fates.ts';
import { heads } from './conformance/heads.ts';
import { lookups } from './conformance/lookups.ts';
import type { OpenStore } from './conformance/scene.ts';
import { staged } from './conformance/staged.ts';

export * from './conformance/scene.ts';

/** Runs the whole suite; `open` must open the same store again after it was closed. */
export const conformance = async (t: Test, open: OpenStore): Promise<void> => {
  for (const [name, run] of Object.entries({ ...bodies, ...fates, ...heads, ...lookups, ...staged }))
    await t.test(name, async (test) => run(test, open, test.testdir()));
};
