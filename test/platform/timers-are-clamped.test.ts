// Every timer in src has a length that is a constant, or one that went through timerMs: past 2^31 ms Node.js fires at once, and a loop
// that sets its timer again then spins.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

const SRC = new URL('../../src/', import.meta.url).pathname;

/** A number, constants in capitals, their sums and products, or what went through timerMs. */
const CONSTANT = /^(?:[\d_.]+|[A-Z][A-Z\d_]*(?:\.\w+)?)(?:\s*[*/+]\s*(?:[\d_.]+|[A-Z][A-Z\d_]*))*$/;
const isClamped = (length: string): boolean => CONSTANT.test(length) || /^timerMs\([\s\S]*\)$/.test(length);

/** The arguments of the call whose opening bracket is at `from`. */
function argumentsAt(text: string, from: number): string[] {
  const found: string[] = [];
  let depth = 0;
  let begin = from + 1;
  for (let at = from; at < text.length; at += 1) {
    const char = text[at]!;
    if (/['"`]/.test(char)) {
      for (at += 1; text[at] !== char; at += 1) if (text[at] === '\\') at += 1;
    } else if (/[([{]/.test(char)) depth += 1;
    else if (/[)\]}]/.test(char)) depth -= 1;
    if ((char === ',' && depth === 1) || depth === 0) {
      found.push(text.slice(begin, at).trim());
      begin = at + 1;
    }
    if (depth === 0) return found.filter((one) => one !== '');
  }
  return found;
}

/** Names of calls, and which of their arguments is the length. */
function callsIn(text: string): [name: string, argument: number][] {
  const promised = /import \{ setTimeout as (\w+) \} from 'node:timers\/promises'/.exec(text)?.[1];
  return [
    ['setTimeout', 1],
    ['setInterval', 1],
    ['AbortSignal\\.timeout', 0],
    ['\\w+\\.setTimeout', 0],
    ...(promised === undefined ? [] : ([[promised, 0]] as [string, number][])),
  ];
}

export const unclamped = (source: string): string[] => {
  const text = source.replace(/^\s*(\/\/|\*|\/\*).*$/gm, '');
  return callsIn(text).flatMap(([name, argument]) =>
    [...text.matchAll(new RegExp(`(?<![.\\w])${name}\\(`, 'g'))].flatMap((match) => {
      const length = argumentsAt(text, match.index + match[0].length - 1)[argument];
      return length === undefined || isClamped(length) ? [] : [`${match[0]}… ${length})`];
    }),
  );
};

t.test('the check finds a timer whose length may be anything', async (t) => {
  t.same(unclamped('setTimeout(() => f(a, b), ms)'), ['setTimeout(… ms)']);
  t.same(unclamped('const x = setInterval(look, this.#options.look).unref();'), [
    'setInterval(… this.#options.look)',
  ]);
  t.same(unclamped("import { setTimeout as pause } from 'node:timers/promises';\nawait pause(at - now);"), [
    'pause(… at - now)',
  ]);
  t.same(unclamped('AbortSignal.timeout(Math.max(1, ms)); socket.setTimeout(patience)'), [
    'AbortSignal.timeout(… Math.max(1, ms))',
    'socket.setTimeout(… patience)',
  ]);
  for (const right of [
    'setTimeout(() => {\n  run(1, [2, 3]);\n}, 2 * RETRY_MS)',
    'setTimeout(done, timerMs(Math.max(1, at - now))).unref()',
    'setTimeout(done, 1000 / WRITES_PER_S)',
    'AbortSignal.timeout(5_000)',
  ])
    t.same(unclamped(right), [], right);
});

t.test('no timer in src has a length that may be anything', async (t) => {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  );
  const found = files.flatMap((name) =>
    unclamped(readFileSync(join(SRC, name), 'utf8')).map((call) => `${name}: ${call}`),
  );
  t.same(found, [], 'put the length through timerMs (src/platform/timer.ts)');
  t.ok(files.length > 300);
});
