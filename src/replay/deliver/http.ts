// One request for an entry: every destination understands it. What counts as delivered is the policy's (`replay.delivered`), and by default
// any 2xx but a page over plain HTTP; of a request that its app signed for S3, what S3 answers.

import { RE2JS } from 're2js';
import type { Delivered, Destination } from '../../policy/policy.ts';
import type { EntryHead } from '../../store/store.ts';
import { headerOf } from '../../wire/headers.ts';
import { outcomeOf, retryAfterMs } from '../outcome.ts';
import type { Result, Strategy } from './deliver.ts';
import { keptAnswer } from './kept-answer.ts';
import { isHtmlPage, portalSign, type ReadAnswer, suspicious } from './portal.ts';
import { isSignedForS3, negativeDoubt, positiveDoubt } from './s3/plausible.ts';
import { errorIn } from './s3/xml.ts';
import { sendWhole } from './whole.ts';

/** Of an answer in words, characters. */
const WORDS = 500;
/** Of a header that a regular expression of the policy looks at, characters. */
const VALUE_CHECKED = 8192;

export const deliverByHttp: Strategy = async (attempt) => {
  const answer = await sendWhole(attempt);
  return answer.kind === 'no-link' ? answer : resultOf(attempt.destination, attempt.entry, answer);
};

const patterns = new WeakMap<object, RE2JS>();

/** RE2 matches in linear time whatever an operator wrote. `header`: of the policy, which is never changed once made. */
const regexOf = (header: object, regex: string): RE2JS => {
  let pattern = patterns.get(header);
  if (!pattern) {
    pattern = RE2JS.compile(regex);
    patterns.set(header, pattern);
  }
  return pattern;
};

/** The first header of the policy that the answer does not have. */
const missing = ({ headers: wanted = [] }: Delivered, headers: readonly string[]): string | undefined =>
  wanted.find((header) => {
    const said = headerOf(headers, header.name)?.trim();
    if (said === undefined) return true;
    if (header.value !== undefined) return said !== header.value;
    return header.regex !== undefined && !regexOf(header, header.regex).matches(said.slice(0, VALUE_CHECKED));
  })?.name;

/** Why an answer is not the destination's own; undefined: it counts. */
function doubtOf(destination: Destination, head: EntryHead, answer: ReadAnswer): string | undefined {
  const { status } = answer;
  const { delivered } = destination.replay;
  const positive = delivered?.status ? delivered.status.includes(status) : status >= 200 && status < 300;
  if (!positive && status >= 200 && status < 300)
    return `${status} is none of replay.delivered.status; a captive portal?`;
  if (!delivered && isSignedForS3(head))
    return positive ? positiveDoubt(head, answer) : negativeDoubt(answer, errorIn(answer.text) !== undefined);
  if (!positive) return portalSign(destination, answer);
  const lacking = delivered && missing(delivered, answer.headers);
  if (lacking !== undefined)
    return `the answer (${status}) lacks the header ${lacking} of replay.delivered; a captive portal?`;
  const html = delivered?.html ?? (destination.upstream.url.startsWith('https:') ? 'allow' : 'deny');
  return html === 'deny' && isHtmlPage(answer)
    ? `the answer (${status}) is an HTML page; a captive portal? If the destination answers so, set replay.delivered.html: allow`
    : undefined;
}

export function resultOf(destination: Destination, head: EntryHead, answer: ReadAnswer): Result {
  const { status, headers, text } = answer;
  const doubt = doubtOf(destination, head, answer);
  if (doubt !== undefined) return suspicious(answer, doubt);
  const counts = destination.replay.delivered?.status?.includes(status);
  return {
    ...{ kind: 'answered', outcome: counts ? 'delivered' : outcomeOf(status), status },
    ...{ words: text.slice(0, WORDS), answer: keptAnswer(status, headers, text) },
    retryAfter: retryAfterMs(headers),
  };
}
