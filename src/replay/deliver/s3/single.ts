// A request to S3 in one piece: a small object, or anything else that is stored of S3. What S3 says in XML is heeded, a redirect to the
// bucket's region is followed within the policy, and what our own lost request has brought about is no refusal: a condition that the
// object does not meet any more, an upload that is complete.

import { upstreamName } from '../../../policy/upstream.ts';
import { WayLost } from '../ask.ts';
import type { Result, Strategy, Try } from '../deliver.ts';
import { resultOf as resultOfHttp } from '../http.ts';
import { suspicious } from '../portal.ts';
import { sendWhole, type WholeRequestAnswer, type WholeRequestOptions } from '../whole.ts';
import { answeredBy, refusedBy, refusedKeys, type S3Answer, S3Calls } from './calls.ts';
import { isConditional } from './headers.ts';
import { isOwnUploadGone, settleOwnUpload } from './own-upload.ts';
import {
  givesEtag,
  hidesMd5,
  isDeleteObjects,
  negativeDoubt,
  positiveDoubt,
  unquotedEtag,
} from './plausible.ts';
import { recognise } from './recognise.ts';
import { redirectIn, targetOf, wordsOf } from './redirect.ts';
import { errorIn } from './xml.ts';

/** 1000 keys, each refused. */
const DELETE_RESULT_BYTES = 4 * 1024 * 1024;

export const deliverToS3: Strategy = async (attempt) => {
  const { entry } = attempt;
  const options: WholeRequestOptions = {
    md5: givesEtag(entry),
    ...(isDeleteObjects(entry) && { kept: DELETE_RESULT_BYTES }),
  };
  const first = await sendWhole(attempt, options);
  if (first.kind === 'no-link') return first;
  const said = s3AnswerOf(first);
  const redirect = redirectIn(first.status, first.headers, said.error);
  if (!redirect) return resultOfWhole(attempt, first);
  const doubt = negativeDoubt(first, said.error !== undefined);
  if (doubt !== undefined) return suspicious(first, doubt);
  const destination = targetOf(redirect, attempt.destination, attempt.destinations);
  if (!destination) return { ...answeredBy(said), words: wordsOf(redirect) };
  const there = { ...attempt, destination };
  const second = await sendWhole(there, options);
  return second.kind === 'no-link' ? second : resultOfWhole(there, second);
};

const s3AnswerOf = ({ status, headers, text, whole }: WholeRequestAnswer): S3Answer => ({
  ...{ status, headers, text, whole },
  error: errorIn(text),
});

/** The result of an answer to a request that was sent elsewhere, and whose body nobody has. */
export function resultOfS3(
  { entry, destination }: Pick<Try, 'entry' | 'destination'>,
  answer: S3Answer,
  md5?: string,
): Result {
  const { status, error } = answer;
  const { delivered } = destination.replay;
  // The policy says which answers count; what the others mean S3 says.
  if (delivered && (status < 300 ? !error : delivered.status?.includes(status)))
    return resultOfHttp(destination, entry, answer);
  if (status >= 300 || error) return refusedBy(answer);
  const doubt = positiveDoubt(entry, answer, md5);
  if (doubt !== undefined) return suspicious(answer, doubt);
  return refusedKeys(entry, answer) ?? answeredBy(answer);
}

/** Sent again where the ETag says that something else arrived. */
function checkEtag({ etags, destination, entry }: Try, answer: WholeRequestAnswer, result: Result): Result {
  if (!etags || result.kind === 'no-link' || result.outcome !== 'delivered' || !givesEtag(entry))
    return result;
  const etag = unquotedEtag(answer.headers);
  const seen = {
    ...{ upstream: upstreamName(destination), id: entry.id, etag, md5: answer.md5 },
    encrypted: hidesMd5(entry.headers, answer.headers),
  };
  if (etags.isCredible(seen)) return result;
  const words = `the ETag ${etag} is not the MD5 of the body, ${answer.md5}: something else has arrived`;
  return { ...result, outcome: 'retry', words };
}

async function resultOfWhole(attempt: Try, answer: WholeRequestAnswer): Promise<Result> {
  const said = s3AnswerOf(answer);
  const result = checkEtag(attempt, answer, resultOfS3(attempt, said, answer.md5));
  const { egress, destination, entry } = attempt;
  const isGone = isOwnUploadGone(entry, said);
  const mayBeOurs = answer.status === 412 && entry.method === 'PUT' && isConditional(entry.headers);
  if (result.kind === 'no-link' || (!isGone && !mayBeOurs)) return result;
  try {
    const calls = new S3Calls(egress, destination, entry, attempt);
    const found = isGone ? await settleOwnUpload(calls, attempt) : await recognise(calls, attempt, {});
    if (found === 'ours' || found === 'done') return { ...result, outcome: 'delivered', words: '' };
    return typeof found === 'string' ? result : refusedBy(found);
  } catch (error) {
    if (error instanceof WayLost) return { kind: 'no-link', words: error.message, moved: 0 };
    throw error;
  }
}
