// cert-manager as a cluster has it: its custom resources, the controller that issues, and the one that writes authorities into webhooks. Its
// own webhook, which would check what is applied, is not there.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { parse } from 'yaml';
import { goProgram } from '../go.ts';
import { endsWithTheTest } from '../lifetime.ts';
import { run } from '../run.ts';
import type { Cluster } from './cluster.ts';

const SOURCE = fileURLToPath(new URL('./cert-manager/', import.meta.url));
const MODULE = 'github.com/cert-manager/cert-manager';

export const CERT_MANAGER_PROGRAMS = ['controller', 'cainjector'] as const;
type CertManagerProgram = (typeof CERT_MANAGER_PROGRAMS)[number];

const version = (): string => {
  const line = readFileSync(join(SOURCE, 'go.mod'), 'utf8').match(/cert-manager\/cert-manager (v\S+)/);
  if (!line?.[1]) throw new Error('cert-manager/go.mod names no cert-manager');
  return line[1];
};

/** Its path. The first of them takes some minutes of two cores. */
export const certManagerProgram = (name: CertManagerProgram): Promise<string> =>
  goProgram(`${name}-cert-manager-${version()}`, name, (directory) => [
    ...['build', '-C', SOURCE, '-trimpath', '-buildvcs=false', '-ldflags', '-s -w'],
    ...['-o', `${directory}/${name}`, `${MODULE}/cmd/${name}`],
  ]);

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
  const args: Record<CertManagerProgram, string[]> = {
    controller: ['--metrics-listen-address=127.0.0.1:0'],
    cainjector: [],
  };
  for (const name of CERT_MANAGER_PROGRAMS) {
    const fd = openSync(join(dir, `${name}.log`), 'a');
    const common = ['--kubeconfig', cluster.kubeconfig, '--leader-elect=false'];
    const child = spawn(await certManagerProgram(name), [...common, ...args[name]], {
      stdio: ['ignore', fd, fd],
    });
    closeSync(fd);
    await once(child, 'spawn');
    endsWithTheTest(t, child);
  }
}
