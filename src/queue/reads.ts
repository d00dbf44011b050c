// What the policy does not let be stored, for the most part reads: without a link there is nobody to answer.

import type { Arrival, Outcome } from './arrival.ts';
import { RETRY_AFTER_S, sendProblem } from './problem.ts';

export function refuseRead({ request, response, destination }: Arrival): Outcome {
  request.resume();
  sendProblem(response, {
    status: 503,
    type: 'no-link',
    title: 'The destination cannot be reached now, and this request is not one to be stored',
    detail: `${request.method} is not stored for ${destination.name}`,
    retryAfter: RETRY_AFTER_S,
  });
  return 'read';
}
