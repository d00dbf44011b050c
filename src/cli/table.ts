// Columns for a terminal.

import { oneLine } from '../telemetry/one-line.ts';

/** The last column is not padded. */
export function table(head: string[], cells: string[][]): string {
  const rows = cells.map((row) => row.map((cell) => oneLine(cell, Number.POSITIVE_INFINITY)));
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  return [head, ...rows]
    .map((row) => row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!))).join('  '))
    .join('\n');
}
