// Splits a program's output into lines, in bounded memory.

import type { Readable } from 'node:stream';

/** Characters; a longer line is cut into several. */
const LONGEST = 16 * 1024;

/** Calls `take` with each line of UTF-8 text, without its end; empty ones are left out. */
export const lines = (stream: Readable, take: (line: string) => void): void => {
  let rest = '';
  const offer = (line: string): void => {
    const text = line.trimEnd();
    if (text !== '') take(text);
  };
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop()!;
    for (const part of parts) offer(part);
    while (rest.length > LONGEST) {
      offer(rest.slice(0, LONGEST));
      rest = rest.slice(LONGEST);
    }
  });
  stream.on('end', () => offer(rest));
};
