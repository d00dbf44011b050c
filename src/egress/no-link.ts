// Why the destination was not reached, from what the egress listener says of it.

import type { Upstream } from '../policy/policy.ts';
import { seconds } from '../policy/units.ts';
import { directConnectMs, replayConnectMs } from '../policy/upstream.ts';

/** Of Envoy's details, characters: those of a failed TLS handshake can be long. */
const DETAIL_LENGTH = 200;

/** `value`: Envoy's response flags, and behind a space its details of the response code, which have the cause in braces:
 *  `UF upstream_reset_before_response_started{connection_timeout}`. Returns one line. */
export function noLinkReason(value: string, upstream: Upstream, impatient: boolean): string {
  const [flags = '', details = ''] = value.split(' ', 2);
  const cause = /\{(.*)\}/.exec(details)?.[1] ?? details;
  if (cause === '') return flags;
  if (cause === 'connection_timeout') {
    const ms = impatient ? directConnectMs(upstream) : replayConnectMs(upstream);
    return `${flags}: no connection within ${seconds(ms)}; a longer upstream.connectTimeout in the policy gives it more time`;
  }
  if (/connect_error:_Connection_timed_out/.test(cause))
    return `${flags}: the address does not answer; a longer upstream.connectTimeout in the policy gives it more time`;
  // `remote_connection_failure|delayed_connect_error:_Connection_refused`: what the transport says is more exact.
  const [reset = '', ...transport] = cause.split('|');
  const text = (transport.join('|') || reset).replaceAll('_', ' ').trim();
  return `${flags}: ${text.slice(0, DETAIL_LENGTH)}`;
}

/** The destination was reached, and what it answered is not HTTP (Envoy's flag UPE). `value`: as above. */
export const isInvalidAnswer = (value: string): boolean => /^UPE\b/.test(value);
