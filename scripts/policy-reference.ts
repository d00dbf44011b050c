// Writes the field table of docs/policy.md, between its markers, from the schema. `--check` only tells whether it is up to date.

import { readFileSync, writeFileSync } from 'node:fs';
import {
  DESTINATION_JSON_SCHEMA,
  type JsonSchema,
  MESH_JSON_SCHEMA,
  SERVICE_JSON_SCHEMA,
} from '../src/policy/schema.ts';

const PAGE = new URL('../docs/policy.md', import.meta.url);
const TABLES: [begin: string, end: string, schema: JsonSchema][] = [
  ['<!-- fields: written by scripts/policy-reference.ts -->', '<!-- /fields -->', DESTINATION_JSON_SCHEMA],
  [
    '<!-- fields of Service: written by scripts/policy-reference.ts -->',
    '<!-- /fields of Service -->',
    SERVICE_JSON_SCHEMA,
  ],
  [
    '<!-- fields of Mesh: written by scripts/policy-reference.ts -->',
    '<!-- /fields of Mesh -->',
    MESH_JSON_SCHEMA,
  ],
];

const code = (text: string) => `\`${text}\``;

const form = (schema: JsonSchema): string => {
  if (schema.enum) return schema.enum.map(code).join(', ');
  if (schema.type === 'integer') return `${schema.minimum} to ${schema.maximum}`;
  if (schema.items) return `list of: ${form(schema.items)}`;
  return schema.title ?? schema.type ?? '';
};

const preset = (schema: JsonSchema, required: boolean): string => {
  if (required) return 'required';
  if (schema.default === undefined) return '';
  return code(Array.isArray(schema.default) ? `[${schema.default.join(', ')}]` : String(schema.default));
};

const rows = (schema: JsonSchema, above: string): string[] =>
  Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const path = above ? `${above}.${name}` : name;
    const required = schema.required?.includes(name) ?? false;
    const group = field.properties ? 'group' : field.items?.properties ? 'list of groups' : undefined;
    const absent = group ? (required ? 'required' : '') : preset(field, required);
    const row = `| ${code(path)} | ${group ?? form(field)} | ${absent} | ${field.description ?? ''} |`;
    return [row, ...rows(field, path), ...(field.items ? rows(field.items, `${path}[]`) : [])];
  });

/** The page with its field tables made anew. Throws where a marker is missing. */
export const withReference = (page: string): string =>
  TABLES.reduce((made, [opening, closing, schema]) => {
    const begin = made.indexOf(opening);
    const end = made.indexOf(closing);
    if (begin < 0 || end < begin)
      throw new Error(`docs/policy.md has lost its markers ${opening} and ${closing}`);
    const table = ['| field | form | default | effect |', '|---|---|---|---|', ...rows(schema, '')];
    return `${made.slice(0, begin + opening.length)}\n\n${table.join('\n')}\n\n${made.slice(end)}`;
  }, page);

if (import.meta.main) {
  const page = readFileSync(PAGE, 'utf8');
  const fresh = withReference(page);
  if (!process.argv.includes('--check')) writeFileSync(PAGE, fresh);
  else if (fresh !== page) {
    process.stderr.write('docs/policy.md is out of date: run node scripts/policy-reference.ts\n');
    process.exitCode = 1;
  }
}
