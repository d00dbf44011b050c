// A request to S3 in one piece: a small object, or anything else that is stored of S3. What S3 says in XML is heeded, a redirect to the
// bucket's region is followed within the policy, and what our own lost request has brought about is no refusal: a condition that the
// object does not meet any more, an upload that is complete.

import { WayLost } from '../ask.ts';
import type { Result, Strategy, Try } from '../deliver.ts';
import { sendWhole, type WholeRequestAnswer } from '../whole.ts';
import { resultOf, S3Calls } from './calls.ts';
import { isConditional } from './headers.ts';
import { isOwnUploadGone, settleOwnUpload } from './own-upload.ts';
import { recognise } from './recognise.ts';
import { redirectIn, targetOf, wordsOf } from './redirect.ts';
import { errorIn } from './xml.ts';

export const deliverToS3: Strategy = async (attempt) => {
  const first = await sendWhole(attempt);
  if (first.kind === 'no-link') return first;
  const redirect = redirectIn(first.status, first.headers, errorIn(first.text));
  if (!redirect) return resultOfWhole(attempt, first);
  const destination = targetOf(redirect, attempt.destination, attempt.destinations);
  if (!destination) return { ...resultOf(s3AnswerOf(first)), words: wordsOf(redirect) };
  const there = { ...attempt, destination };
  const second = await sendWhole(there);
  return second.kind === 'no-link' ? second : resultOfWhole(there, second);
};

const s3AnswerOf = ({ status, headers, text }: WholeRequestAnswer) => ({
  ...{ status, headers, text, whole: true },
  error: errorIn(text),
});

async function resultOfWhole(attempt: Try, answer: WholeRequestAnswer): Promise<Result> {
  const said = s3AnswerOf(answer);
  const result = resultOf(said);
  const { egress, destination, entry } = attempt;
  const isGone = isOwnUploadGone(entry, said);
  const mayBeOurs = answer.status === 412 && entry.method === 'PUT' && isConditional(entry.headers);
  if (!isGone && !mayBeOurs) return result;
  try {
    const calls = new S3Calls(egress, destination, entry, attempt);
    const found = isGone ? await settleOwnUpload(calls, attempt) : await recognise(calls, attempt, {});
    if (found === 'ours' || found === 'done') return { ...result, outcome: 'delivered', words: '' };
    return typeof found === 'string' ? result : resultOf(found);
  } catch (error) {
    if (error instanceof WayLost) return { kind: 'no-link', words: error.message, moved: 0 };
    throw error;
  }
}
