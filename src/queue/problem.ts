// Errors to apps, as RFC 9457 problem details. Never after an entry was committed: SDKs would send it again.

import type { ServerResponse } from 'node:http';
import { ENTRY_HEADER, PROBLEM_BASE } from '../wire/names.ts';

/** Seconds that a refused app may wait before it asks again. */
export const RETRY_AFTER_S = 2;

export interface Problem {
  status: number;
  /** The last part of the type's URI; docs/errors.md has one paragraph for each. */
  type: string;
  title: string;
  detail?: string;
  /** Seconds. */
  retryAfter?: number;
  /** The entry that it is about: its id. */
  entry?: string;
}

export function sendProblem(response: ServerResponse, problem: Problem): void {
  const body = JSON.stringify({
    type: PROBLEM_BASE + problem.type,
    title: problem.title,
    status: problem.status,
    ...(problem.detail ? { detail: problem.detail } : {}),
  });
  response.writeHead(problem.status, {
    'content-type': 'application/problem+json',
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    ...(problem.entry === undefined ? {} : { [ENTRY_HEADER]: problem.entry }),
    ...(problem.retryAfter === undefined ? {} : { 'retry-after': String(problem.retryAfter) }),
  });
  response.end(body);
}
