// What S3 has of an upload, all pages of it.

import { WayLost } from '../ask.ts';
import type { S3Answer, S3Calls } from './calls.ts';
import { negativeDoubt } from './plausible.ts';
import { type ListedPart, partsIn } from './xml.ts';

/** An upload has no more (S3's limit); a server that lists without an end is not followed. */
const MOST_PARTS = 10_000;

/** S3 knows no such upload. */
export const isGone = ({ status, error }: S3Answer): boolean =>
  status === 404 && error?.code === 'NoSuchUpload';

/** undefined: S3 does not let us see, and what is written down must do. An answer: S3 cannot say now, or it is none of S3's. Rejects with WayLost. */
export async function listParts(
  calls: S3Calls,
  uploadId: string,
  headers: string[],
): Promise<ListedPart[] | 'gone' | S3Answer | undefined> {
  const all: ListedPart[] = [];
  for (let marker: string | undefined; ; ) {
    const answer = await calls.call({
      method: 'GET',
      query: { ...(marker !== undefined && { 'part-number-marker': marker }), uploadId },
      headers,
    });
    if (isGone(answer)) return 'gone';
    if (negativeDoubt(answer, answer.error !== undefined) !== undefined) return answer;
    if ([400, 403, 405, 501].includes(answer.status)) return undefined;
    const page = answer.status === 200 ? partsIn(answer.text) : undefined;
    if (!page && !answer.whole) throw new WayLost('the answer to ListParts broke off');
    if (!page) return answer;
    all.push(...page.parts);
    if (page.next === undefined || page.next === marker || all.length >= MOST_PARTS) return all;
    marker = page.next;
  }
}
