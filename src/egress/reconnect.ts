// A server closes a connection on which nothing came for a while, and a request may already be on its way: it meets a reset. That is no
// lost link. Such a request is sent once more, over a connection that nobody has used.

import { randomUUID } from 'node:crypto';
import type { Answer, RequestSender } from './egress.ts';

/** A link that is lost is silent, and that takes longer to be seen (TCP_USER_TIMEOUT, control-plane/resources/bounds.ts); a server that
 *  closes the connection says so within a round trip (ms). Less than the shortest answerTimeout, too, which is no reset either. */
export const RESET_WITHIN_MS = 1_500;

/** Envoy's response flags: the connection ended before an answer, or the server reset the stream. */
const RESET_FLAGS: ReadonlySet<string> = new Set(['UC', 'UR']);

/** `value`: of NO_LINK_HEADER. `tookMs`: since the request was begun. */
export const isReset = (value: string, tookMs: number): boolean =>
  tookMs < RESET_WITHIN_MS && RESET_FLAGS.has(value.split(' ', 1)[0]!.split(',', 1)[0]!);

/** The same, over a connection of its own. All that is sent through one of them shares it. */
export function onNewConnection(egress: RequestSender): RequestSender {
  const connection = randomUUID();
  return { send: (of, head, body, options) => egress.send(of, head, body, { ...options, connection }) };
}

/** Does `act`, and once more on a new connection where a request of it met a reset and `isLost` says so of the result. */
export async function reconnecting<T>(
  egress: RequestSender,
  signal: AbortSignal,
  act: (egress: RequestSender) => Promise<T>,
  isLost: (result: T) => boolean,
): Promise<T> {
  let wasReset = false;
  const watched: RequestSender = {
    send: async (...of: [...Parameters<RequestSender['send']>]): Promise<Answer> => {
      const answer = await egress.send(...of);
      wasReset ||= answer.isReset === true;
      return answer;
    },
  };
  const result = await act(watched);
  return wasReset && isLost(result) && !signal.aborted ? act(onNewConnection(egress)) : result;
}
