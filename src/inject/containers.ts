// The two containers that a pod gets: the sidecar, and before it, once, the one that leads the app's calls there.

import { bootstrap } from '../embedded/bootstrap.ts';
import { partId, sidecarId } from '../identity/spiffe.ts';
import { formatAddress } from '../wire/address.ts';
import type { Choices } from './choices.ts';
import {
  CAPTURE_CONTAINER,
  IDENTITY_VOLUME,
  OUTBOUND_PORT,
  READY_PORT,
  RUN_VOLUME,
  SIDECAR_CONTAINER,
  SIDECAR_UID,
} from './names.ts';
import type { Container } from './pod-object.ts';
import type { InjectSettings } from './settings.ts';

/** Where the secret with the sidecar's certificate is mounted: what `layby identity issue --secret` writes names its files so. */
export const IDENTITY_DIR = '/etc/layby/identity';
const RUN_DIR = '/run/layby';
/** In the image. */
export const CAPTURE_PROGRAM = '/usr/local/bin/layby-capture';
export const ENVOY_PROGRAM = '/usr/local/bin/envoy';
const TRUSTED_CA = '/etc/ssl/certs/ca-certificates.crt';

/** The app is started when the sidecar has its configuration: then, and not before, its workers answer there. It waits for as long
 *  as that takes: an app without a sidecar would get errors. */
const STARTUP_SECONDS = 3600;

const POD_NODE_IP = { name: 'NODE_IP', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } };

function sidecarBootstrap(
  choices: Choices,
  labels: Record<string, string>,
  settings: InjectSettings,
): object {
  const { trustDomain, xdsPort, queuePort, queueNode } = settings;
  const { edge, node } = choices;
  return bootstrap({
    node,
    labels: Object.entries(labels).map(([name, value]) => `${name}=${value}`),
    xds: { host: edge, port: xdsPort },
    tls: {
      certificates: { dir: IDENTITY_DIR },
      controlPlane: partId(trustDomain, 'control-plane'),
    },
    queue: { address: { host: edge, port: queuePort }, id: sidecarId(trustDomain, queueNode) },
    // Not a port: the app shares the pod's loopback, and could end the sidecar there.
    admin: { unix: `${RUN_DIR}/admin.sock` },
    outbound: { host: '127.0.0.1', port: OUTBOUND_PORT },
    ready: { host: '0.0.0.0', port: READY_PORT },
    trustDomain,
    trustedCa: TRUSTED_CA,
  });
}

/** A native sidecar (an init container that goes on running): up before the app and its init containers, and after them. */
export const sidecarContainer = (
  choices: Choices,
  labels: Record<string, string>,
  settings: InjectSettings,
): Container => ({
  name: SIDECAR_CONTAINER,
  image: settings.image,
  imagePullPolicy: settings.pullPolicy,
  restartPolicy: 'Always',
  command: [ENVOY_PROGRAM],
  args: [
    ...['--config-yaml', JSON.stringify(sidecarBootstrap(choices, labels, settings))],
    ...['--concurrency', String(settings.concurrency), '--disable-hot-restart'],
    ...['--log-level', 'warn', '--drain-time-s', '1'],
  ],
  env: [POD_NODE_IP],
  // What the policy's upstreams are signed with: the app never sees it.
  envFrom: [{ secretRef: { name: choices.credentialsSecret, optional: true } }],
  ports: [{ name: 'layby-ready', containerPort: READY_PORT, protocol: 'TCP' }],
  startupProbe: {
    httpGet: { path: '/ready', port: READY_PORT },
    periodSeconds: 1,
    failureThreshold: STARTUP_SECONDS,
  },
  resources: {
    requests: { cpu: settings.cpu, memory: settings.memory },
    limits: { memory: settings.memoryLimit },
  },
  securityContext: {
    runAsUser: SIDECAR_UID,
    runAsGroup: SIDECAR_UID,
    runAsNonRoot: true,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  },
  volumeMounts: [
    { name: IDENTITY_VOLUME, mountPath: IDENTITY_DIR, readOnly: true },
    { name: RUN_VOLUME, mountPath: RUN_DIR },
  ],
});

/** What the capture script is told. */
export const captureArgs = ({ capturePorts, excludePorts, excludeCidrs }: Choices): string[] => [
  ...['--uid', String(SIDECAR_UID), '--to', String(OUTBOUND_PORT)],
  ...['--ports', capturePorts === '*' ? '*' : capturePorts.join(',')],
  ...(excludePorts.length > 0 ? ['--exclude-ports', excludePorts.join(',')] : []),
  ...(excludeCidrs.length > 0 ? ['--exclude-cidrs', excludeCidrs.join(',')] : []),
];

/** Root with one capability, for as long as it takes to write the rules. */
export const captureContainer = (choices: Choices, settings: InjectSettings): Container => ({
  name: CAPTURE_CONTAINER,
  image: settings.image,
  imagePullPolicy: settings.pullPolicy,
  command: [CAPTURE_PROGRAM],
  args: captureArgs(choices),
  resources: {
    requests: { cpu: settings.captureCpu, memory: settings.captureMemory },
    limits: { memory: settings.captureMemoryLimit },
  },
  securityContext: {
    runAsUser: 0,
    runAsGroup: 0,
    runAsNonRoot: false,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW'] },
    seccompProfile: { type: 'RuntimeDefault' },
  },
});

/** For an app that finds its proxy in the environment. What it says itself stays. */
export const proxyEnvironment = (
  choices: Choices,
  settings: InjectSettings,
): { name: string; value: string }[] => {
  const proxy = `http://${formatAddress({ host: '127.0.0.1', port: OUTBOUND_PORT })}`;
  const direct = [settings.noProxy, ...choices.excludeCidrs].filter((each) => each !== '').join(',');
  return [
    { name: 'http_proxy', value: proxy },
    { name: 'HTTP_PROXY', value: proxy },
    { name: 'no_proxy', value: direct },
    { name: 'NO_PROXY', value: direct },
  ];
};
