// From the text of files to documents with places: YAML (or JSON, which is YAML) in, plain values and the line and column
// of any path in them out. What a document must say is for src/policy/check.ts.

import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  visit,
} from 'yaml';
import { messageOf } from '../telemetry/error.ts';
import type { PolicyProblem } from './problem.ts';

export interface PolicyFile {
  path: string;
  text: string;
}

export type Path = readonly (string | number)[];

export interface PolicyDocument {
  file: string;
  value: unknown;
  /** Where the value at `path` stands, or its key; the nearest thing above where there is no such value. */
  place(path: Path, at?: 'key' | 'value'): { line: number; column: number };
}

/** `spec.hosts[1]` */
export const pathText = (path: Path): string =>
  path.reduce<string>(
    (text, step) => (typeof step === 'number' ? `${text}[${step}]` : text ? `${text}.${step}` : step),
    '',
  );

const offsetAt = (document: Document.Parsed, path: Path, at: 'key' | 'value'): number => {
  const resolved = (node: unknown) => (isAlias(node) ? node.resolve(document) : node);
  let node: unknown = document.contents;
  let offset = (node as Node | null)?.range?.[0] ?? document.range[0];
  for (const [depth, step] of path.entries()) {
    const parent = resolved(node);
    const key = at === 'key' && depth === path.length - 1;
    if (isMap(parent)) {
      const pair = parent.items.find((item) => isScalar(item.key) && String(item.key.value) === step);
      if (!pair) break;
      node = key ? pair.key : (pair.value ?? pair.key);
    } else if (isSeq(parent) && typeof step === 'number') {
      node = parent.items[step];
    } else break;
    const range = (node as Node | undefined)?.range;
    if (!range) break;
    offset = range[0];
  }
  return offset;
};

/** YAML allows whole collections for keys. The library would make text of them, in a time that grows with the cube of their depth:
 *  800 bytes took half a minute. */
const keyThatIsNoText = (document: Document.Parsed): Node | undefined => {
  let found: Node | undefined;
  visit(document, {
    Pair(_, { key }) {
      if (!isCollection(isAlias(key) ? key.resolve(document) : key)) return undefined;
      found = key as Node;
      return visit.BREAK;
    },
  });
  return found;
};

/** Where the value at `path` of a destination stands in these files; undefined where they name none of that name. */
export const placeIn = (
  files: readonly PolicyFile[],
  destination: string,
  path: Path,
): { file: string; line: number; column: number } | undefined => {
  for (const file of files) {
    for (const { value, place } of readDocuments(file).documents) {
      const { metadata } = value as { metadata?: { name?: unknown } };
      if (metadata?.name === destination) return { file: file.path, ...place(path) };
    }
  }
  return undefined;
};

/** Documents without content (only comments, a stray `---`) are left out. One with wrong syntax becomes problems. */
export const readDocuments = (
  file: PolicyFile,
): { documents: PolicyDocument[]; problems: PolicyProblem[] } => {
  const lines = new LineCounter();
  const documents: PolicyDocument[] = [];
  const problems: PolicyProblem[] = [];
  const placeOf = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const syntaxAt = new Set<number>();
  const syntax = (offset: number, message: string) => {
    // One at each place: a thousand open brackets are a thousand errors at the end of the file.
    if (syntaxAt.has(offset)) return;
    syntaxAt.add(offset);
    problems.push({ file: file.path, ...placeOf(offset), path: '', message });
  };

  let parsed: readonly Document.Parsed[];
  try {
    // An empty stream is an empty list too.
    parsed = parseAllDocuments(file.text, { lineCounter: lines, prettyErrors: false });
  } catch (thrown) {
    // What is nested thousands of levels deep has no stack to be read on.
    syntax(0, `cannot be read: ${messageOf(thrown)}`);
    return { documents, problems };
  }
  for (const document of parsed) {
    // A warning is a tag or a directive without the effect that its author hoped for.
    for (const { pos, message } of [...document.errors, ...document.warnings]) syntax(pos[0], message);
    // Past any other error the rest of the document would be a guess.
    if (document.errors.some(({ code }) => code !== 'DUPLICATE_KEY')) continue;
    let value: unknown;
    try {
      const key = keyThatIsNoText(document);
      if (key) {
        syntax(key.range?.[0] ?? 0, 'expected a name before the colon, but found a list or a mapping');
        continue;
      }
      value = document.toJS();
    } catch (thrown) {
      // An alias without its anchor, too many aliases, or too deep.
      syntax(offsetAt(document, [], 'value'), messageOf(thrown));
      continue;
    }
    if (value === null) continue;
    documents.push({
      file: file.path,
      value,
      place: (path, at = 'value') => placeOf(offsetAt(document, path, at)),
    });
  }
  return { documents, problems };
};
