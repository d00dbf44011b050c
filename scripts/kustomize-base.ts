// Makes manifests/kustomize/base/layby.yaml of the chart: node scripts/kustomize-base.ts [--check]

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { helm } from '../test/rig/helm.ts';

const at = (path: string): string => fileURLToPath(new URL(`../manifests/${path}`, import.meta.url));

/** What only Helm needs. */
const OF_HELM = /^ +(helm\.sh\/chart|app\.kubernetes\.io\/managed-by): .*\n|^# Source: .*\n/gm;

const chart = await helm([
  ...[
    'template',
    'layby',
    at('chart'),
    '--namespace',
    'layby-system',
    '--include-crds',
    '--kube-version',
    '1.36',
  ],
]);
const text = `# Made of the chart by scripts/kustomize-base.ts: change that.\n${chart.replace(OF_HELM, '')}`;
const file = at('kustomize/base/layby.yaml');
if (!process.argv.includes('--check')) writeFileSync(file, text);
else if (readFileSync(file, 'utf8') !== text) {
  console.error(
    'manifests/kustomize/base/layby.yaml is not what the chart says: node scripts/kustomize-base.ts',
  );
  process.exitCode = 1;
}
