// What injection needs to know that no pod says: images, ports, and where the edge pod is.

import { DEFAULT_TRUST_DOMAIN } from '../identity/spiffe.ts';

/** In the arguments of the sidecar: the address of the node that it runs on; the kubelet fills it in. */
export const NODE_IP = '$(NODE_IP)';

export type Capture = 'iptables' | 'proxy' | 'none';

export interface InjectSettings {
  /** Envoy, and the capture script with iptables. */
  image: string;
  pullPolicy: 'IfNotPresent' | 'Always' | 'Never';
  /** Names of Secrets in the namespace of the pod, by commas: added to the pod's own. */
  imagePullSecrets: string;
  capture: Capture;
  /** TCP ports whose calls are captured; `*`: all. */
  capturePorts: string;
  /** CIDRs whose addresses are never captured, by commas. */
  excludeCidrs: string;
  /** Hosts that are called without the proxy, where capture is `proxy`. */
  noProxy: string;
  /** Host of the edge pod; `$(NODE_IP)`: the address of the node that the pod runs on, which needs no DNS. */
  edge: string;
  /** Ports there, of the control plane and of the queue, both TLS. */
  xdsPort: number;
  queuePort: number;
  /** The node id of the Envoy there. */
  queueNode: string;
  trustDomain: string;
  /** Worker threads of the sidecar: each holds connections and memory of its own. */
  concurrency: number;
  /** As Kubernetes writes them. */
  cpu: string;
  memory: string;
  memoryLimit: string;
  /** Of the container that writes the capture rules, once. */
  captureCpu: string;
  captureMemory: string;
  captureMemoryLimit: string;
}

export const DEFAULT_SETTINGS: InjectSettings = {
  image: 'layby-envoy:latest',
  pullPolicy: 'IfNotPresent',
  imagePullSecrets: '',
  capture: 'iptables',
  capturePorts: '80',
  excludeCidrs: '',
  noProxy: 'localhost,127.0.0.1,::1,.svc,.cluster.local',
  edge: NODE_IP,
  xdsPort: 15010,
  queuePort: 15006,
  queueNode: 'edge',
  trustDomain: DEFAULT_TRUST_DOMAIN,
  concurrency: 2,
  cpu: '10m',
  memory: '64Mi',
  memoryLimit: '256Mi',
  captureCpu: '10m',
  captureMemory: '16Mi',
  captureMemoryLimit: '64Mi',
};
