// docs/errors.md is complete: what the program can say is in it, and it says nothing that the program cannot.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../..', import.meta.url));
const doc = (name: string) => readFileSync(join(root, 'docs', name), 'utf8');

const sources = (directory: string): string[] =>
  readdirSync(join(root, directory), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(ts|js)$/.test(name))
    .map((name) => readFileSync(join(root, directory, name), 'utf8'));

const all = (text: string, pattern: RegExp): Set<string> =>
  new Set([...text.matchAll(pattern)].map((match) => match[1]!));

/** The first column of the tables. */
const listed = (text: string, pattern: RegExp) => all(text.replace(/^(?!\|).*$/gm, ''), pattern);

const source = [...sources('src'), ...sources('bin')].join('\n');
const variables = listed(doc('cli.md'), /`(LAYBY_[A-Z0-9_]+)`/g);
const codes = [...all(source, /\b(LAYBY_[A-Z0-9_]+)\b/g)].filter((name) => !variables.has(name));

t.test('every code in the source has its line, and no other has', async (t) => {
  t.same([...listed(doc('errors.md'), /^\| `(LAYBY_[A-Z0-9_]+)`/gm)].sort(), codes.sort());
});

t.test('every environment variable of Layby in docs/cli.md is read somewhere', async (t) => {
  for (const name of variables)
    t.ok(
      source.includes(`env.${name}`) || source.includes(`.env('${name}')`) || source.includes(`).${name}`),
      name,
    );
});

t.test('every type of problem has its line, and no other has', async (t) => {
  const queue = ['src/queue', 'src/control-plane/resources', 'src/policy'].flatMap(sources).join('\n');
  // `type: 'no-link'`, or two of them behind a condition.
  const types = new Set(
    [...queue.matchAll(/\btype: ([^\n]*)/g)].flatMap(([, value]) => [
      ...all(value!, /'([a-z]+(?:-[a-z]+)+)'/g),
    ]),
  );
  t.ok(types.size > 0);
  t.same([...listed(doc('errors.md'), /^\| `([a-z-]+)` +\| \d{3}/gm)].sort(), [...types].sort());
});

t.test('every code has a remedy', async (t) => {
  for (const line of doc('errors.md')
    .split('\n')
    .filter((text) => text.startsWith('| `')))
    t.ok(line.split('|').at(-2)!.trim() !== '', line);
});
