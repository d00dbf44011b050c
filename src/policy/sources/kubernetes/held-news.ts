// Deletions that nodes hold, in the words of the cluster part, and when an Event tells of them. No object may be left that could have a
// status, and etcd forgets an Event after an hour: so it is told again as long as it is so. Pure but for what it remembers.

import { cutText } from './build-report.ts';
import { ACCEPT_ANNOTATION } from './names.ts';
import { messageOf } from './ready.ts';
import type { HeldKind } from './report.ts';
import { heldText } from './vanished.ts';

/** The remedy must fit into the note of an Event beside it, bytes. */
const LONGEST_LIST = 768;
/** The reports of the other nodes are still coming, ms. */
const GATHER_MS = 3_000;
/** Between two that tell something new, ms. */
const APART_MS = 10_000;
/** Between two that tell the same, ms. */
const AGAIN_MS = 3_600_000;

/** What one node holds. */
export interface HeldView {
  node: string;
  kinds: readonly HeldKind[];
}

/** On one line, since kubectl shows no more of an event. Undefined: nothing is held. */
export const heldMessage = (views: readonly HeldView[]): string | undefined => {
  if (views.length === 0) return undefined;
  const list = messageOf(views, ({ kinds }) => heldText(kinds)).replaceAll('\n', '; ');
  return `lost at once, and still in force on ${cutText(list, LONGEST_LIST)}; apply them again, or accept the deletions with the annotation ${ACCEPT_ANNOTATION}=true on an object of kind Mesh`;
};

export class HeldNews {
  /** What an Event has told, of whichever nodes. */
  readonly #told = new Set<string>();
  /** performance.now(), as all times here */
  #toldAt = Number.NEGATIVE_INFINITY;
  #since: number | undefined;

  /** When an Event is due; undefined: nothing is held. */
  dueAt(views: readonly HeldView[], now: number): number | undefined {
    if (views.length === 0) {
      this.#told.clear();
      this.#since = undefined;
      return undefined;
    }
    this.#since ??= now;
    const isNew = views.some(({ kinds }) => !this.#told.has(heldText(kinds)));
    return Math.max(this.#since + GATHER_MS, this.#toldAt + (isNew ? APART_MS : AGAIN_MS));
  }

  told(views: readonly HeldView[], now: number): void {
    for (const { kinds } of views) this.#told.add(heldText(kinds));
    this.#toldAt = now;
  }
}
