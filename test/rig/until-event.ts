// Waits for the one event among many that matters, without missing those that come in one burst (`once` in a loop does).

import type { EventEmitter } from 'node:events';

/** Resolves with the first `event` for which `matches` is true. Rejects after `timeout` ms with `failure` in words. */
export const untilEvent = <T>(
  emitter: EventEmitter,
  event: string,
  matches: (value: T) => boolean,
  timeout: number,
  failure: () => string,
): Promise<T> =>
  new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      emitter.off(event, hear);
      reject(new Error(`not within ${timeout} ms: ${failure()}`));
    }, timeout);
    const hear = (value: T) => {
      if (!matches(value)) return;
      clearTimeout(late);
      emitter.off(event, hear);
      resolve(value);
    };
    emitter.on(event, hear);
  });
