// manifests/crds says what the schema says. That the API server takes it, and what it then refuses, is for test/kubernetes.

import { readFileSync } from 'node:fs';
import t from 'tap';
import { parse } from 'yaml';
import { manifests } from '../../scripts/crds.ts';

t.test('the manifests of the custom resources are up to date', async (t) => {
  for (const [name, text] of manifests())
    t.equal(
      readFileSync(new URL(`../../manifests/crds/${name}`, import.meta.url), 'utf8'),
      text,
      `if not: node scripts/crds.ts`,
    );
});

t.test('a reader of YAML 1.1, as kubectl is one, finds every field under its name', async (t) => {
  for (const [name, text] of manifests())
    t.strictSame(parse(text, { version: '1.1' }), parse(text, { version: '1.2' }), name);
});
