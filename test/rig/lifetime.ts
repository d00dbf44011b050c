// What the rig starts ends with the rig: pieces that would outlive the test (namespaces, processes) register here how they
// are ended. What is left after a kill -9 of the test itself is for the sweep in namespaces.ts.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Test } from 'tap';

const endings = new Set<() => void>();
let armed = false;

const endAll = () => {
  // The last thing made is the first to go: processes before the namespace they run in.
  for (const end of [...endings].reverse()) {
    endings.delete(end);
    try {
      end();
    } catch {
      // One ending that fails must not keep the others from running.
    }
  }
};

const arm = () => {
  if (armed) return;
  armed = true;
  process.once('exit', endAll);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => {
      endAll();
      process.kill(process.pid, signal);
    });
};

/** Runs `end` (which must be synchronous) when the test process ends, unless the returned function was called before. */
export const endsWithTheRig = (end: () => void): (() => void) => {
  arm();
  endings.add(end);
  return () => {
    endings.delete(end);
  };
};

/** SIGKILL when the test is over, or its process ends. */
export function endsWithTheTest(t: Test, child: ChildProcess): void {
  const forget = endsWithTheRig(() => child.kill('SIGKILL'));
  t.teardown(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    forget();
  });
}
