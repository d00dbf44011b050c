// Tables for people: on the terminal, and in docs/performance.md.

import { readFile, writeFile } from 'node:fs/promises';

export interface Result {
  bench: string;
  case: string;
  subject: string;
  metric: string;
  unit: string;
  min: number;
  median: number;
  max: number;
}

export interface Row {
  label: string;
  ratioTo: string[];
  result: Result;
}

/** Three significant digits are more than a noisy machine gives. */
const figure = (value: number): string =>
  value >= 100
    ? Math.round(value)
        .toString()
        .replace(/\B(?=(\d{3})+$)/g, ',')
    : value.toPrecision(3);

const ratios = (row: Row, rows: Row[]): string =>
  row.ratioTo
    .map((label) => {
      const other = rows.find((candidate) => candidate.label === label);
      if (!other) throw new Error(`${row.label} is compared with ${label}, which is not in its case`);
      return `${(row.result.median / other.result.median).toPrecision(2)} × ${label}`;
    })
    .join('; ');

const HEADINGS = ['min', 'median', 'max', 'unit', 'ratio of the medians'];

const cells = (rows: Row[]): string[][] =>
  rows.map((row) => {
    const { min, median, max, unit, metric } = row.result;
    return [row.label, figure(min), figure(median), figure(max), `${metric} ${unit}`, ratios(row, rows)];
  });

/** For a terminal: figures to the right, words to the left. */
export function table(title: string, rows: Row[]): string {
  const lines = [[title, ...HEADINGS], ...cells(rows)];
  const widths = lines[0]!.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)));
  return lines
    .map((line) =>
      line
        .map((cell, i) => (i >= 1 && i <= 3 ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const markdownTable = (title: string, rows: Row[]): string =>
  [
    [title, ...HEADINGS],
    ['---', '--:', '--:', '--:', '---', '---'],
    ...cells(rows).map(([label, ...rest]) => [label!.startsWith('layby') ? `**${label}**` : label!, ...rest]),
  ]
    .map((line) => `| ${line.join(' | ')} |`)
    .join('\n');

/** Puts the tables between the markers of `bench` in the page, at its end where it has none; makes the page where there is none. */
export async function intoMarkdown(
  path: string,
  bench: string,
  about: string,
  tables: { title: string; rows: Row[] }[],
): Promise<void> {
  const begin = `<!-- bench: ${bench}; written by bench/${bench}.ts --markdown -->`;
  const end = `<!-- /bench: ${bench} -->`;
  const section = [
    begin,
    `Measured on ${about}. Again with \`node bench/${bench}.ts\`.`,
    ...tables.map(({ title, rows }) => markdownTable(title, rows)),
    end,
  ].join('\n\n');
  const page = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  const [before, after] =
    from >= 0 && to > from
      ? [page.slice(0, from), page.slice(to + end.length)]
      : [page === '' ? '' : `${page.trimEnd()}\n\n`, '\n'];
  await writeFile(path, before + section + after);
}
