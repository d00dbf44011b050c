// A pod in, the pod with a sidecar out. Pure, and the same again when done twice: what is Layby's own is replaced by name.

import { LaybyError } from '../telemetry/error.ts';
import { type Choices, choicesOf, listOf } from './choices.ts';
import { captureContainer, proxyEnvironment, sidecarContainer } from './containers.ts';
import {
  ANY_ADDRESS,
  CAPTURE_CONTAINER,
  IDENTITY_VOLUME,
  INJECT,
  RUN_VOLUME,
  SIDECAR_CONTAINER,
  SIDECAR_UID,
} from './names.ts';
import type { Container, Pod, PodSpec } from './pod-object.ts';
import type { InjectSettings } from './settings.ts';

export interface Injected {
  pod: Pod;
  /** Why it got no sidecar; undefined: it has one. */
  without?: string;
}

const OWN_CONTAINERS = [CAPTURE_CONTAINER, SIDECAR_CONTAINER];
const OWN_VOLUMES = [IDENTITY_VOLUME, RUN_VOLUME];

/** Why this pod is left as it is. */
function unwilling({ metadata, spec }: Pod): string | undefined {
  const { labels, annotations } = metadata ?? {};
  if (labels?.[INJECT] === 'false' || annotations?.[INJECT] === 'false') return `it says ${INJECT}: "false"`;
  if (annotations?.['kubernetes.io/config.mirror'] !== undefined) return 'its node runs it from a file';
  if (spec?.hostNetwork)
    return "it uses the network of its node (hostNetwork): capture would take the node's own calls";
  const os = spec?.os?.name ?? spec?.nodeSelector?.['kubernetes.io/os'] ?? 'linux';
  if (os !== 'linux') return `it is for ${os}`;
  return undefined;
}

/** An app under the sidecar's uid is not captured, and nobody would notice. */
function checkUids(spec: PodSpec): void {
  const own = spec.securityContext?.runAsUser;
  for (const { name, securityContext } of appContainers(spec)) {
    if ((securityContext?.runAsUser ?? own) !== SIDECAR_UID) continue;
    throw new LaybyError(
      'LAYBY_INJECT_INVALID',
      `the container ${name} runs as user ${SIDECAR_UID}, whose calls are not captured, since that is the sidecar's`,
      { remedy: 'run it as another user' },
    );
  }
}

const withoutOwn = (containers: readonly Container[] = []): Container[] =>
  containers.filter(({ name }) => !OWN_CONTAINERS.includes(name));

const appContainers = ({ containers = [], initContainers }: PodSpec): Container[] => [
  ...containers,
  ...withoutOwn(initContainers),
];

function withProxy(container: Container, proxy: { name: string; value: string }[]): Container {
  const env = container.env ?? [];
  const missing = proxy.filter((each) => !env.some(({ name }) => name === each.name));
  return { ...container, env: [...env, ...missing] };
}

function withNames(spec: PodSpec, { resolve }: Choices): PodSpec {
  const others = (spec.hostAliases ?? []).filter(({ ip }) => ip !== ANY_ADDRESS);
  if (resolve.length === 0) return spec;
  return { ...spec, hostAliases: [...others, { ip: ANY_ADDRESS, hostnames: [...resolve] }] };
}

function withPullSecrets(spec: PodSpec, names: string): PodSpec {
  const own = spec.imagePullSecrets ?? [];
  const missing = listOf(names).filter((each) => !own.some(({ name }) => name === each));
  if (missing.length === 0) return spec;
  return { ...spec, imagePullSecrets: [...own, ...missing.map((name) => ({ name }))] };
}

/** `namespace`: of a pod that names none itself. Errors: LAYBY_INJECT_INVALID, LAYBY_IDENTITY_INVALID. */
export function injectPod(pod: Pod, namespace: string, settings: InjectSettings): Injected {
  const why = unwilling(pod);
  if (why) return { pod, without: why };
  const spec = pod.spec ?? {};
  if (!spec.containers?.length) {
    throw new LaybyError('LAYBY_INJECT_INVALID', 'the pod has no containers', {
      remedy: 'give it one: spec.containers',
    });
  }
  const choices = choicesOf(pod, pod.metadata?.namespace ?? namespace, settings);
  const captures = choices.capture === 'iptables';
  if (captures) checkUids(spec);
  const proxy = choices.capture === 'proxy' ? proxyEnvironment(choices, settings) : [];
  const app = (container: Container) => (proxy.length > 0 ? withProxy(container, proxy) : container);
  const {
    initContainers,
    containers,
    volumes = [],
    ...rest
  } = withPullSecrets(withNames(spec, choices), settings.imagePullSecrets);
  return {
    pod: {
      ...pod,
      spec: {
        ...rest,
        // First, so that init containers of the app are served too.
        initContainers: [
          ...(captures ? [captureContainer(choices, settings)] : []),
          sidecarContainer(choices, pod.metadata?.labels ?? {}, settings),
          ...withoutOwn(initContainers).map(app),
        ],
        containers: containers!.map(app),
        volumes: [
          ...volumes.filter(({ name }) => !OWN_VOLUMES.includes(name)),
          { name: IDENTITY_VOLUME, secret: { secretName: choices.identitySecret } },
          { name: RUN_VOLUME, emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
        ],
      },
    },
  };
}

/** RFC 6902: what makes `after` of `before`, a field of the spec each. */
export function patchOf(before: Pod, after: Pod): { op: 'add'; path: string; value: unknown }[] {
  const [old, now] = [before.spec ?? {}, after.spec ?? {}];
  return Object.entries(now)
    .filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(old[key]))
    .map(([key, value]) => ({ op: 'add', path: `/spec/${key}`, value }));
}
