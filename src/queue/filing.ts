// What a room must say of a request for it to be stored.

import type { Entry, EntryHead } from '../store/store.ts';
import type { ReadBody } from './read-body.ts';
import type { Receipt } from './receipts/receipt.ts';

/** How a request is stored, for a room that knows it better than its method and headers say. */
export interface Filing {
  head: EntryHead;
  /** Body length, bytes, where it is known. */
  expected: number | undefined;
  read: ReadBody;
  /** Cut through, where it is its turn. */
  online: boolean;
  md5: boolean;
  /** `head` is whole only when `read` has resolved. */
  headLast?: boolean;
  /** Around the commit, where it may still be refused. */
  committing?: (commit: () => Promise<Entry>) => Promise<Entry>;
  receipt: Receipt;
}
