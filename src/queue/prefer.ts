// What an app prefers (RFC 7240): not to wait, or not for longer than so many seconds. The header goes on to the destination too.

import type { IncomingMessage } from 'node:http';

export interface Preference {
  /** 202 is understood, whatever the policy's receipt. */
  respondAsync: boolean;
  /** How long the app wants to wait for an answer after its body, ms. */
  wait?: number;
}

/** A longer wait is as good as none. */
const LONGEST_S = 86_400;

export function preferenceOf({ headers }: IncomingMessage): Preference {
  const preference: Preference = { respondAsync: false };
  for (const part of String(headers.prefer ?? '').split(',')) {
    const [name = '', value = ''] = part.split(';', 1)[0]!.split('=');
    const token = name.trim().toLowerCase();
    if (token === 'respond-async') preference.respondAsync = true;
    const seconds = /^\s*"?(\d{1,9})"?\s*$/.exec(value)?.[1];
    // Section 2: the first of several counts.
    if (token === 'wait' && seconds !== undefined)
      preference.wait ??= Math.min(LONGEST_S, Number(seconds)) * 1000;
  }
  return preference;
}
