// cert-manager as a cluster has it: its custom resources, the controller that issues, and the one that writes authorities into webhooks. Its
// own webhook, which would check what is applied, is not there.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { parse } from 'yaml';
import { endsWithTheTest } from '../lifetime.ts';
import { run } from '../run.ts';
import type { Cluster } from './cluster.ts';
import { kubernetesProgram } from './programs.ts';

const SOURCE = fileURLToPath(new URL('./programs/', import.meta.url));
const MODULE = 'github.com/cert-manager/cert-manager';

/** Until the test is over. `dir`: for its logs. */
export async function startCertManager(t: Test, cluster: Cluster, dir: string): Promise<void> {
  const module = (await run(['go', 'list', '-C', SOURCE, '-m', '-f', '{{.Dir}}', MODULE])).trim();
  const crds = join(module, 'deploy/crds');
  for (const file of readdirSync(crds).filter((name) => name.endsWith('.yaml'))) {
    const crd = parse(readFileSync(join(crds, file), 'utf8')) as { metadata: { labels?: object } };
    // They are its chart's to fill in.
    delete crd.metadata.labels;
    await cluster.kubectl(['create', '-f', '-'], JSON.stringify(crd));
  }
  await cluster.kubectl(['wait', '--for=condition=Established', 'crd', '--all']);
  const fd = openSync(join(dir, 'cert-manager.log'), 'a');
  const child = spawn(await kubernetesProgram('cert-manager'), ['--kubeconfig', cluster.kubeconfig], {
    stdio: ['ignore', fd, fd],
  });
  closeSync(fd);
  await once(child, 'spawn');
  endsWithTheTest(t, child);
}
