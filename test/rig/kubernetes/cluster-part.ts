// `layby cluster` as a process beside an API server on the loopback, with the chart's rights. There is no network of pods here: the API server
// is told an address. All else is the chart's.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { PROGRAM } from '../../cli/layby-process.ts';
import { helm } from '../helm.ts';
import { endsWithTheRig } from '../lifetime.ts';
import { freePort } from '../ports.ts';
import { type Cluster, writeKubeconfig } from './cluster.ts';

export const CHART = fileURLToPath(new URL('../../../manifests/chart', import.meta.url));
export const NAMESPACE = 'layby-system';

const ROOT = '/apis/admissionregistration.k8s.io/v1';
export const CONFIGURATION = {
  mutating: `${ROOT}/mutatingwebhookconfigurations/layby-inject`,
  validating: `${ROOT}/validatingwebhookconfigurations/layby-validate`,
} as const;

export interface Configuration {
  webhooks: {
    clientConfig: { url?: string; caBundle?: string; service?: { path: string } };
    failurePolicy: string;
  }[];
}

/** Where the API server asks from now on, and, as GitOps applies it, without whom to trust. */
export async function pointWebhooks(cluster: Cluster, port: number): Promise<void> {
  for (const [each, path] of [
    [CONFIGURATION.mutating, '/inject'],
    [CONFIGURATION.validating, '/validate'],
  ] as const) {
    const configuration = (await cluster.api('GET', each)) as Configuration;
    for (const webhook of configuration.webhooks)
      webhook.clientConfig = { url: `https://127.0.0.1:${port}${path}` };
    await cluster.api('PUT', each, configuration);
  }
}

export const installChart = (cluster: Cluster, ...args: string[]): Promise<string> =>
  helm(['install', 'layby', CHART, '-n', NAMESPACE, '--create-namespace', ...args], {
    KUBECONFIG: cluster.kubeconfig,
  });

export interface ClusterPart {
  port: number;
  pid: number;
  /** What it has logged. */
  log(): string;
  kill9(): Promise<void>;
}

/** Resolves when it serves. `dir`: of the test. */
export async function startClusterPart(
  t: Test,
  cluster: Cluster,
  dir: string,
  { port, args = [] }: { port?: number; args?: readonly string[] } = {},
): Promise<ClusterPart> {
  const at = port ?? (await freePort());
  const kubeconfig = join(dir, 'cluster-part.kubeconfig');
  await writeKubeconfig(kubeconfig, cluster, await cluster.tokenOf(NAMESPACE, 'layby-cluster'));
  const { data } = (await cluster.api('GET', `/api/v1/namespaces/${NAMESPACE}/configmaps/layby-inject`)) as {
    data: Record<string, string>;
  };
  const settings = join(dir, 'settings.yaml');
  await writeFile(settings, data['settings.yaml']!);
  const child = spawn(
    process.execPath,
    [
      ...[PROGRAM, 'cluster', '--listen', `127.0.0.1:${at}`, '--tls-host', '127.0.0.1'],
      ...['--kubeconfig', kubeconfig, '--report-namespace', NAMESPACE, '--settings', settings, ...args],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const forget = endsWithTheRig(() => child.kill('SIGKILL'));
  let log = '';
  const kill9 = async () => {
    forget();
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  t.teardown(kill9);
  await new Promise<void>((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (piece: string) => {
      log += piece;
      if (log.includes('"ready"')) resolve();
    });
    child.on('exit', () => reject(new Error(`it ended: ${log}`)));
  });
  return { port: at, pid: child.pid!, log: () => log, kill9 };
}
