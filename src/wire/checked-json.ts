// JSON with a checksum, for files that decide about order and money: a flipped bit must not read as another answer.

import { crc32 } from 'node:zlib';

/** Larger than anything that is written this way, bytes. */
const LONGEST = 1024 * 1024;

const sumOf = (format: number, content: unknown): number => crc32(JSON.stringify([format, content]));

export const checkedJson = (format: number, content: unknown): string =>
  `${JSON.stringify({ format, crc32: sumOf(format, content), content })}\n`;

/** The content, of no particular shape; undefined where it is damaged, or of another format. */
export function readCheckedJson(format: number, text: string): unknown {
  if (text.length > LONGEST) return undefined;
  try {
    const found = JSON.parse(text) as { format?: unknown; crc32?: unknown; content?: unknown } | null;
    return found?.format === format && found.crc32 === sumOf(format, found.content)
      ? found.content
      : undefined;
  } catch {
    return undefined;
  }
}
