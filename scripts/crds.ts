// Writes manifests/crds from the schema of the policy. `--check` only tells whether they are up to date.

import { readFileSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { CRDS } from '../src/policy/sources/kubernetes/crd.ts';

const DIR = new URL('../manifests/crds/', import.meta.url);

/** By the names of the files. */
export const manifests = (): [name: string, text: string][] =>
  Object.entries(CRDS).map(([name, crd]) => [
    name,
    `# Written by scripts/crds.ts from the schema of the policy.\n${stringify(crd, { aliasDuplicateObjects: false, compat: 'yaml-1.1' })}`,
  ]);

if (import.meta.main) {
  for (const [name, text] of manifests()) {
    const file = new URL(name, DIR);
    if (!process.argv.includes('--check')) writeFileSync(file, text);
    else if (readFileSync(file, 'utf8') !== text) {
      process.stderr.write(`manifests/crds/${name} is out of date: run node scripts/crds.ts\n`);
      process.exitCode = 1;
    }
  }
}
