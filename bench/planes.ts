// What an edit of one Destination costs a fleet: the bytes that each control plane receives from the API server, with more and more of them: the
// edit, and the status that the cluster part makes of their reports. Each is all of a control plane that the cluster sees, its source of
// policy; they and the cluster part's aggregator share this process.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { kubeconfigAccess } from '../src/policy/sources/kubernetes/access.ts';
import { Aggregator } from '../src/policy/sources/kubernetes/aggregator.ts';
import { Api } from '../src/policy/sources/kubernetes/api.ts';
import { KubernetesSource } from '../src/policy/sources/kubernetes/source.ts';
import type { Cluster } from '../test/rig/kubernetes/cluster.ts';

const API = '/apis/layby.dev/v1alpha1/namespaces/default/destinations';
/** An edit, its reports, and what the cluster makes of them, ms. */
const QUIET_MS = 5_000;
const PATIENCE_MS = 120_000;

const document = (port: number) => ({
  apiVersion: 'layby.dev/v1alpha1',
  kind: 'Destination',
  metadata: { name: 'edited' },
  spec: { hosts: ['edited.example'], upstream: { url: `http://127.0.0.1:${port}/` } },
});

interface FleetCost {
  planes: number;
  /** Of the bodies of answers, bytes. */
  each: number;
  all: number;
  /** Reports. */
  writes: number;
  /** Of the status. */
  statuses: number;
  /** From the edit to the last of them having it, ms. */
  took: number;
}

async function measure(cluster: Cluster, dir: string, planes: number, port: number): Promise<FleetCost> {
  const log = pino({ level: 'silent' });
  const api = new Api(() => kubeconfigAccess(cluster.kubeconfig));
  const aggregator = new Aggregator({ api, reportNamespace: 'default', identity: 'bench', log });
  aggregator.start();
  const url = new Map<number, string | undefined>();
  const sources = await Promise.all(
    Array.from({ length: planes }, async (_, n) => {
      const own = join(dir, `plane-${n}`);
      await mkdir(own, { recursive: true });
      const source = new KubernetesSource({
        kubeconfig: cluster.kubeconfig,
        node: `plane-${n}`,
        inForce: () => undefined,
        refusal: () => undefined,
        standings: () => () => ({ sidecars: 0, programmed: 0 }),
        backlog: () => undefined,
        queueAnswers: () => true,
        onPolicy: ({ destinations }) =>
          url.set(n, destinations.find(({ name }) => name === 'edited')?.upstream.url),
        onVerdict: () => {},
        onProblem: (problem) => console.error(problem.line),
        onEndpoints: () => {},
        dir: own,
        log,
      });
      source.start();
      return source;
    }),
  );
  const sum = (of: 'received' | 'writes') => sources.reduce((total, { counts }) => total + counts[of], 0);
  const until = async (is: () => boolean, what: string) => {
    for (const deadline = performance.now() + PATIENCE_MS; !is(); await sleep(10))
      if (performance.now() > deadline) throw new Error(`not within two minutes: ${what}`);
  };
  await until(() => sources.every(({ counts }) => counts.writes > 0), `${planes} reports`);
  await sleep(QUIET_MS);
  const [received, writes, statuses] = [sum('received'), sum('writes'), aggregator.writes];
  const began = performance.now();
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(document(port)));
  const everywhere = () =>
    url.size === planes && [...url.values()].every((each) => each?.includes(`:${port}`));
  await until(everywhere, 'the edit is everywhere');
  const took = performance.now() - began;
  await until(() => sum('writes') - writes >= planes, 'everyone has reported it');
  await sleep(QUIET_MS);
  const all = sum('received') - received;
  const cost = {
    ...{ planes, each: all / planes, all, took },
    ...{ writes: sum('writes') - writes, statuses: aggregator.writes - statuses },
  };
  for (const source of sources) await source.close();
  await aggregator.close();
  await api.close();
  return cost;
}

/** Prints a row for each number of control planes. */
export async function measurePlanes(cluster: Cluster, dir: string, counts: readonly number[]): Promise<void> {
  console.log(
    '\n| control planes | received by each for one edit, bytes | by all, kB | reports written | status written | in force on all, ms |\n| --: | --: | --: | --: | --: | --: |',
  );
  await cluster.api('POST', API, document(9000));
  for (const [n, planes] of counts.entries()) {
    const { each, all, writes, statuses, took } = await measure(cluster, dir, planes, 9001 + n);
    console.log(
      `| ${planes} | ${each.toFixed(0)} | ${(all / 1000).toFixed(1)} | ${writes} | ${statuses} | ${took.toFixed(0)} |`,
    );
  }
}
