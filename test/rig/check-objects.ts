// The judge for a destination that keeps objects (S3): each path holds what was last written to it, and nothing else is there.
// Pure, like checker.ts.

import type { AppRecord } from './load-plan.ts';

export interface HeldObject {
  /** As the app called it: `/bucket/key`, percent-encoded as it was. */
  path: string;
  bytes: number;
  /** Lower-case hex. */
  sha256: string;
}

const accepted = ({ error, status }: AppRecord): boolean =>
  error === null && ((status >= 200 && status < 300) || status === 307 || status === 303);

/** Violations in words, from the PUTs that apps sent and what the store holds once nothing is stored any more. Where PUTs of one
 *  path overlapped, or one failed at its app, any of them may have been the last. */
export const checkObjects = (app: readonly AppRecord[], held: readonly HeldObject[]): string[] => {
  const violations: string[] = [];
  const objects = new Map(held.map((object) => [object.path, object]));
  for (const [path, records] of Map.groupBy(app, (record) => record.path)) {
    const object = objects.get(path);
    objects.delete(path);
    const sure = records.filter(accepted);
    const lastStart = Math.max(...sure.map(({ start }) => start));
    // Not surely followed by a later one; -Infinity where nothing was accepted, and then all may be.
    const possible = records.filter((record) => !accepted(record) || record.end >= lastStart);
    if (!object) {
      if (sure.length > 0)
        violations.push(`law 2: ${path} is not there, after ${sure.length} accepted requests`);
    } else if (!possible.some(({ sha256, bytes }) => sha256 === object.sha256 && bytes === object.bytes)) {
      const old = records.find(({ sha256 }) => sha256 === object.sha256);
      violations.push(
        old
          ? `law 3: ${path} holds what request ${old.n} sent, and a later one was accepted`
          : `law 5: ${path} holds ${object.bytes} bytes that no request sent`,
      );
    }
  }
  for (const path of objects.keys()) violations.push(`law 4: ${path} is there and was never sent by an app`);
  return violations;
};
