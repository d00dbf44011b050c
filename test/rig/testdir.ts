// The test's own directory. tap removes it before it runs the teardowns that were registered behind it: the directory of a program that
// is still writing there then cannot be removed, and the program is never ended.

import type { Test } from 'tap';

type Content = Parameters<Test['testdir']>[0];

/** `t.testdir()`, removed when all teardowns of the test are over. */
export const testdir = (t: Test, content?: Content): string => {
  t.teardown(() => {});
  return t.testdir(content);
};
