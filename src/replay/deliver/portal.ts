// Answers that the destination has probably not given. A captive portal, or a filter of a network, answers plain-HTTP requests in the
// destination's place: with a page and 200, with a redirect to its login, with 511. Such an answer says nothing of the entry, so it is a
// loss of the link: the destination pauses, and the entry stays. Pure.

import type { Destination } from '../../policy/policy.ts';
import { headerOf } from '../../wire/headers.ts';
import { ANSWER_KEPT } from './answer-text.ts';
import type { Result } from './deliver.ts';
import { keptAnswer } from './kept-answer.ts';

/** An answer whose body was read. */
export interface ReadAnswer {
  status: number;
  /** Names and values in turn. */
  headers: readonly string[];
  /** The beginning of its body. */
  text: string;
}

/** A document of HTML begins with one of these, behind a byte order mark, an XML declaration and comments. */
const HTML_DOCUMENT =
  /^\uFEFF?\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--[\s\S]*?-->\s*)*<(?:!doctype\s+html|html|head|body|meta|script|title|frameset)[\s/>]/i;
const HTML_TYPE = /^\s*(?:text\/html|application\/xhtml\+xml)\b/i;

export const isHtmlType = (headers: readonly string[]): boolean =>
  HTML_TYPE.test(headerOf(headers, 'content-type') ?? '');

/** A page for people. A short text like `OK` is none, whatever its type: many servers say `text/html` of everything. Neither is an empty
 *  body. Of an encoded body the type alone can be judged. */
export const isHtmlPage = ({ headers, text }: ReadAnswer): boolean =>
  HTML_DOCUMENT.test(text) ||
  (text !== '' && headerOf(headers, 'content-encoding') !== undefined && isHtmlType(headers));

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export const isRedirect = (status: number): boolean => REDIRECTS.has(status);

/** Where a redirect leads that leaves the upstream's host, or leads nowhere; undefined: it is none. No redirect is followed (law 4). */
export function foreignRedirect(
  { upstream }: Destination,
  { status, headers }: Omit<ReadAnswer, 'text'>,
): string | undefined {
  if (!isRedirect(status)) return undefined;
  const location = headerOf(headers, 'location');
  if (location === undefined || !URL.canParse(location, upstream.url)) return location ?? '(no Location)';
  return new URL(location, upstream.url).hostname === new URL(upstream.url).hostname ? undefined : location;
}

/** Why this is no answer of the destination, whatever kind of destination it is; undefined: nothing says so. */
export function portalSign(destination: Destination, answer: ReadAnswer): string | undefined {
  if (answer.status === 511) return '511: the network asks for a login';
  if (answer.status === 407) return '407: a proxy on the way asks for a login';
  const location = foreignRedirect(destination, answer);
  return location === undefined
    ? undefined
    : `${answer.status} to another host, ${location.slice(0, 200)}; a captive portal?`;
}

/** The destination was not reached, and `reason` says why that is supposed. Nothing counts as moved: the pauses of the destination must
 *  grow although the portal took the body. */
export const suspicious = (
  { status, headers, text }: ReadAnswer,
  reason: string,
): Result & { kind: 'no-link' } => ({
  ...{ kind: 'no-link', words: reason, moved: 0 },
  suspicious: { status, answer: keptAnswer(status, headers, text.slice(0, ANSWER_KEPT)) },
});
