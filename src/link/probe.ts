// The optional probe: one small request to a URL of the operator's choice, again and again. Off unless it is asked for, since it costs
// bytes; any answer counts, whatever its status.

import { request } from 'undici';
import { timerMs } from '../platform/timer.ts';
import type { Word } from './state.ts';

/** Longer than this is no answer, ms. */
const ANSWER_WITHIN = 10_000;
/** Longer than this is slow, ms. */
const SLOW = 2_000;
/** One request may be lost: so many in a row are a link that is down. */
const FAILURES = 2;

export interface ProbeOptions {
  url: string;
  /** Between two requests, ms. */
  every: number;
  /** Called when the answer is another. */
  onChange: (word: Word) => void;
}

/** Resolves with ms until the answer; undefined: there was none. */
export async function probeOnce(url: string, signal: AbortSignal): Promise<number | undefined> {
  const from = performance.now();
  try {
    const within = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_WITHIN)]);
    const { body } = await request(url, { method: 'HEAD', signal: within, reset: true });
    await body.dump();
    return performance.now() - from;
  } catch {
    return undefined;
  }
}

/** Pure: what a row of answers says. `failures`: how many in a row had failed before. undefined: not sure yet. */
export function probeWord(took: number | undefined, failures: number): Word | undefined {
  if (took === undefined) return failures + 1 >= FAILURES ? 'down' : undefined;
  return took >= SLOW ? 'slow' : 'up';
}

/** Returns what ends it. */
export function watchProbe({ url, every, onChange }: ProbeOptions): () => void {
  const closed = new AbortController();
  let failures = 0;
  let last: Word | undefined;
  let timer: NodeJS.Timeout | undefined;
  const look = async (): Promise<void> => {
    const took = await probeOnce(url, closed.signal);
    if (closed.signal.aborted) return;
    const word = probeWord(took, failures);
    failures = took === undefined ? failures + 1 : 0;
    if (word !== undefined && word !== last) onChange(word);
    last = word ?? last;
    timer = setTimeout(() => void look(), timerMs(every));
  };
  void look();
  return () => {
    closed.abort();
    clearTimeout(timer);
  };
}
