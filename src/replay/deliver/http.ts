// One request for an entry: what every destination understands.

import { headerOf } from '../../wire/headers.ts';
import { outcomeOf, retryAfterMs } from '../outcome.ts';
import type { Result, Strategy } from './deliver.ts';
import { keptAnswer } from './kept-answer.ts';
import { sendWhole } from './whole.ts';

/** Of an answer in words, characters. */
const WORDS = 500;

export const deliverByHttp: Strategy = async (attempt) => {
  const answer = await sendWhole(attempt);
  return answer.kind === 'no-link' ? answer : resultOf(answer.status, answer.headers, answer.text);
};

export const resultOf = (status: number, headers: readonly string[], words: string): Result => ({
  ...{ kind: 'answered', outcome: outcomeOf(status), status, words: words.slice(0, WORDS) },
  answer: keptAnswer(status, headers, words),
  retryAfter: retryAfterMs(headerOf(headers, 'retry-after'), Date.now()),
});
