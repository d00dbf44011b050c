// What the matrix of clients saw, as tables in docs/clients.md. The words around them are people's.

import { readFile, writeFile } from 'node:fs/promises';

const PAGE = new URL('../../../docs/clients.md', import.meta.url);

export interface Table {
  /** Names the markers in the page. */
  name: string;
  head: readonly string[];
  rows: readonly (readonly string[])[];
}

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

const withTable = (page: string, { name, head, rows }: Table): string => {
  const [begin, end] = [
    `<!-- ${name}: written by the tests of test/slow, with --markdown -->`,
    `<!-- /${name} -->`,
  ];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`docs/clients.md has lost its markers ${begin} and ${end}`);
  const table = [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
  return `${page.slice(0, from + begin.length)}\n\n${table}\n\n${page.slice(to)}`;
};

/** Where the test was started with `--markdown`: the page with these tables made anew. Rejects where it has no place for one. */
export const intoPage = async (tables: readonly Table[]): Promise<void> => {
  if (process.argv.includes('--markdown'))
    await writeFile(PAGE, tables.reduce(withTable, await readFile(PAGE, 'utf8')));
};
