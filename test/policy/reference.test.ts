// docs/policy.md says what the schema says, its examples are right, and the schema can become a Kubernetes CRD.

import { readFileSync } from 'node:fs';
import t from 'tap';
import { withReference } from '../../scripts/policy-reference.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { DESTINATION_JSON_SCHEMA } from '../../src/policy/schema.ts';

const page = readFileSync(new URL('../../docs/policy.md', import.meta.url), 'utf8');

t.test('the field table in docs/policy.md is up to date', async (t) => {
  t.equal(withReference(page), page, 'if not: node scripts/policy-reference.ts');
});

t.test('the examples in docs/policy.md make one policy together', async (t) => {
  const files = Array.from(page.matchAll(/^```yaml\n(.*?)^```$/gms), (match, i) => ({
    path: `example ${i + 1}`,
    text: match[1]!,
  }));
  t.strictSame(
    parsePolicy(files).destinations.map(({ name }) => name),
    ['dashcam', 'fleet', 'ingest', 'maps', 'metrics', 'telemetry', 'video'],
  );
});

t.test(
  'the schema keeps to what a structural schema may hold, and every field has a description',
  async (t) => {
    const allowed =
      /^(type|title|description|default|enum|pattern|minimum|maximum|minItems|maxItems|maxLength|required|properties|items|x-kubernetes-preserve-unknown-fields)$/;
    const walk = (schema: object, path: string): void => {
      t.hasProp(schema, 'type', `${path} has a type`);
      for (const [keyword, value] of Object.entries(schema)) {
        t.match(keyword, allowed, `${path} ${keyword}`);
        if (keyword === 'items') walk(value, `${path}[]`);
        if (keyword !== 'properties') continue;
        for (const [name, field] of Object.entries<object>(value)) {
          t.hasProp(field, 'description', `${path}.${name} is described`);
          walk(field, `${path}.${name}`);
        }
      }
    };
    walk(DESTINATION_JSON_SCHEMA, '');
  },
);
