// What the control plane counts, in Prometheus' text format. The queue's own metrics are appended by the admin listener.

import { Gauge, Registry } from 'prom-client';
import type { KubernetesSource } from '../policy/sources/kubernetes/source.ts';
import type { Edge } from './edge.ts';
import type { QueueWatch } from './queue-watch.ts';
import type { DiscoveryServer } from './server/discovery.ts';

export function controlPlaneMetrics(
  edge: Edge,
  ads: DiscoveryServer,
  queue: Pick<QueueWatch, 'queueAnswers'>,
  cluster?: KubernetesSource,
): () => Promise<string> {
  const registry = new Registry();
  const registers = [registry];
  new Gauge({
    name: 'layby_destination_held',
    help: '1 while all calls to the destination go through the queue',
    labelNames: ['destination', 'state'],
    registers,
    collect() {
      this.reset();
      for (const { name, state, hold } of edge.status()) this.set({ destination: name, state }, hold ? 1 : 0);
    },
  });
  new Gauge({
    name: 'layby_link_up',
    help: '1 while the link to the destination may work',
    labelNames: ['destination', 'by'],
    registers,
    collect() {
      this.reset();
      for (const { name, link } of edge.status()) {
        this.set({ destination: name, by: link.by }, link.state === 'down' ? 0 : 1);
      }
    },
  });
  new Gauge({
    name: 'layby_queue_answers',
    help: '0 while the queue does not answer, or says that it does not work',
    registers,
    collect() {
      this.set(queue.queueAnswers() ? 1 : 0);
    },
  });
  new Gauge({
    name: 'layby_sidecars',
    help: 'connected sidecars',
    labelNames: ['up_to_date'],
    registers,
    collect() {
      const sidecars = ads.status();
      const current = sidecars.filter((sidecar) => sidecar.upToDate).length;
      this.set({ up_to_date: 'true' }, current);
      this.set({ up_to_date: 'false' }, sidecars.length - current);
    },
  });
  new Gauge({
    name: 'layby_xds_held_back',
    help: 'subscriptions of sidecars for which something waits: layby status says for what',
    labelNames: ['type', 'what'],
    registers,
    collect() {
      this.reset();
      for (const { subscriptions } of ads.clients)
        for (const { type, waits } of subscriptions) for (const { what } of waits) this.inc({ type, what });
    },
  });
  for (const [name, help, value] of [
    ['layby_kubernetes_lists_total', 'whole lists of objects that were asked from the API server', 'lists'],
    ['layby_kubernetes_report_writes_total', 'reports written into the cluster', 'writes'],
    ['layby_kubernetes_received_bytes_total', 'bodies of answers by the API server, bytes', 'received'],
    ['layby_kubernetes_objects_refused', 'objects that are not in force as they are', 'refused'],
    ['layby_kubernetes_deletions_held', 'objects that are gone from the cluster and stay in force', 'held'],
    ['layby_kubernetes_away', '1 while the API server cannot be asked', 'away'],
  ] as const) {
    if (!cluster) break;
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(cluster.counts[value]);
      },
    });
  }
  for (const [name, help, value] of [
    ['layby_xds_responses_total', 'responses that went out to sidecars', 'responses'],
    ['layby_xds_response_bytes_total', 'their bytes', 'bytes'],
  ] as const) {
    new Gauge({
      name,
      help,
      labelNames: ['variant', 'type'],
      registers,
      collect() {
        for (const traffic of ads.traffic.values()) {
          const { variant, type } = traffic;
          this.set({ variant, type }, traffic[value]);
        }
      },
    });
  }
  for (const [name, help, value] of [
    ['layby_xds_acks_total', 'configurations that sidecars took', () => ads.acks],
    ['layby_xds_nacks_total', 'configurations that sidecars refused', () => ads.nacks],
  ] as const) {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  }
  return () => registry.metrics();
}
