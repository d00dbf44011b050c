// What runs pods on the nodes of the rig: a node is one end of the road, a pod a namespace behind it, a container a process in the root of its
// image. As a kubelet does it: init containers one after the other, native sidecars as soon as their startup probe answers, what ends is
// started again, and the API server is told who is ready. It is on no node itself: a cut of the road is told it (`cutOff`). Of a pod's spec it
// knows what Layby's have.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endsWithTheRig } from '../lifetime.ts';
import type { Pod as Network, Road } from '../namespaces.ts';
import { run } from '../run.ts';
import type { Cluster } from './cluster.ts';
import { type Images, inRoot } from './images.ts';
import { addNode, type RigNode } from './node.ts';

const STRATEGIC = 'application/strategic-merge-patch+json';
/** ms */
const LOOK_EVERY = 200;

interface Probe {
  httpGet: { path: string; port: number | string; host?: string };
}

interface Container {
  name: string;
  image: string;
  command?: string[];
  args?: string[];
  env?: { name: string; value?: string; valueFrom?: { fieldRef?: { fieldPath: string } } }[];
  securityContext?: { runAsUser?: number };
  restartPolicy?: string;
  envFrom?: { secretRef: { name: string; optional?: boolean } }[];
  ports?: { name?: string; containerPort: number }[];
  volumeMounts?: { name: string; mountPath: string; subPath?: string }[];
  startupProbe?: Probe;
  readinessProbe?: Probe;
}

interface Item {
  key: string;
  path: string;
}

interface Named {
  secretName?: string;
  name?: string;
  items?: Item[];
}

interface Volume {
  name: string;
  emptyDir?: object;
  hostPath?: { path: string };
  secret?: Named;
  configMap?: Named;
  projected?: {
    sources: { serviceAccountToken?: { path: string }; configMap?: Named; downwardAPI?: { items: Item[] } }[];
  };
}

interface PodObject {
  metadata: { name: string; namespace: string; uid: string; deletionTimestamp?: string };
  spec: {
    initContainers?: Container[];
    containers: Container[];
    volumes?: Volume[];
    hostAliases?: { ip: string; hostnames: string[] }[];
    hostNetwork?: boolean;
    serviceAccountName?: string;
    securityContext?: { runAsUser?: number };
  };
}

export interface KubeletOptions {
  cluster: Cluster;
  road: Road;
  /** Which end of the road the node is. */
  end: 'vehicle' | 'cloud';
  node: string;
  labels?: Record<string, string>;
  images: Images;
  /** Short: sockets are below it. */
  dir: string;
  /** Of its pods, without the last number: `10.244.1`. */
  network: string;
  /** Where pods reach the API server; a name of its certificate, and the address that it resolves to. */
  apiServer: { name: string; address: string; port: number };
  /** What containers write on standard error, by line. */
  onLine?: (pod: string, container: string, line: string) => void;
}

export interface Kubelet {
  node: RigNode;
  /** By name, once its containers are started. */
  pod(namespace: string, name: RegExp): Promise<RunningPod>;
  /** It hears and says nothing any more; pods go on. */
  cutOff(): void;
  reconnect(): Promise<void>;
  close(): Promise<void>;
}

/** One whose containers are processes. */
export class RunningPod {
  readonly object: PodObject;
  readonly address: string;
  readonly #options: KubeletOptions;
  readonly #network: Network | undefined;
  readonly #dir: string;
  readonly #children = new Map<string, ChildProcess>();
  readonly #forget: () => void;
  #env: Readonly<Record<string, string>> = {};
  #ended = false;
  ready = false;

  constructor(object: PodObject, options: KubeletOptions, network: Network | undefined) {
    this.object = object;
    this.#options = options;
    this.#network = network;
    this.address = network?.address ?? options.road[options.end].address;
    this.#dir = join(options.dir, object.metadata.uid.slice(0, 8));
    this.#forget = endsWithTheRig(() => {
      for (const child of this.#children.values()) child.kill('SIGKILL');
    });
  }

  get name(): string {
    return this.object.metadata.name;
  }

  #inNetwork(argv: readonly string[]): string[] {
    const name = this.#network?.name ?? this.#options.road[this.#options.end].name;
    return ['ip', 'netns', 'exec', name, ...argv];
  }

  /** Until its containers run, or it has ended. */
  async start(): Promise<void> {
    const { spec } = this.object;
    const { road, end, node, apiServer } = this.#options;
    await mkdir(this.#dir, { recursive: true });
    const aliases = (spec.hostAliases ?? []).map(({ ip, hostnames }) => `${ip} ${hostnames.join(' ')}`);
    const hosts = ['127.0.0.1 localhost', ...aliases, `${apiServer.address} ${apiServer.name}`, ''];
    await writeFile(join(this.#dir, 'hosts'), hosts.join('\n'));
    this.#env = {
      KUBERNETES_SERVICE_HOST: apiServer.name,
      KUBERNETES_SERVICE_PORT: String(apiServer.port),
      'status.hostIP': road[end].address,
      'spec.nodeName': node,
    };
    for (const volume of spec.volumes ?? []) await this.#makeVolume(volume);
    for (const container of spec.initContainers ?? []) {
      if (container.restartPolicy === 'Always') {
        void this.#keep(container);
        while (!this.#ended && !(await this.#answers(container, container.startupProbe))) await sleep(50);
      } else await run(await this.#argv(container));
    }
    for (const container of spec.containers) void this.#keep(container);
  }

  /** Of all its containers. */
  async isReady(): Promise<boolean> {
    for (const container of this.object.spec.containers) {
      if (!this.#children.has(container.name)) return false;
      if (!(await this.#answers(container, container.readinessProbe))) return false;
    }
    return true;
  }

  async #answers({ ports = [] }: Container, probe: Probe | undefined): Promise<boolean> {
    if (!probe) return true;
    const { path, port, host = this.address } = probe.httpGet;
    const at = typeof port === 'number' ? port : ports.find(({ name }) => name === port)!.containerPort;
    const curl = ['curl', '-sf', '-o', '/dev/null', '-m', '1', `http://${host}:${at}${path}`];
    return run(this.#inNetwork(curl)).then(
      () => true,
      () => false,
    );
  }

  /** Runs it, again and again. */
  async #keep(container: Container): Promise<void> {
    while (!this.#ended) {
      const [file = '', ...args] = await this.#argv(container);
      if (this.#ended) return;
      const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
      this.#children.set(container.name, child);
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        for (const line of text.split('\n'))
          if (line) this.#options.onLine?.(this.name, container.name, line);
      });
      await once(child, 'exit');
      this.#children.delete(container.name);
      await sleep(100);
    }
  }

  #rootOf({ image }: Container): string {
    return this.#options.images.roots.get(image.split(':')[0]!) ?? '';
  }

  async #argv(container: Container): Promise<string[]> {
    const { command = [], args = [], volumeMounts = [], securityContext, env = [], envFrom = [] } = container;
    const { KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT } = this.#env;
    const given: Record<string, string> = {
      KUBERNETES_SERVICE_HOST: KUBERNETES_SERVICE_HOST!,
      KUBERNETES_SERVICE_PORT: KUBERNETES_SERVICE_PORT!,
    };
    for (const { secretRef } of envFrom)
      for (const [name, value] of await this.#content('secrets', { name: secretRef.name }).catch(() => []))
        given[name] = value.toString();
    for (const { name, value, valueFrom } of env) {
      given[name] = value ?? this.#env[valueFrom?.fieldRef?.fieldPath ?? ''] ?? '';
    }
    const filled = (text: string) => text.replace(/\$\((\w+)\)/g, (whole, name) => given[name] ?? whole);
    const binds = volumeMounts.map(
      ({ name, mountPath, subPath = '' }) => [join(this.#dir, name, subPath), mountPath] as const,
    );
    const uid = securityContext?.runAsUser ?? this.object.spec.securityContext?.runAsUser;
    return this.#inNetwork(
      inRoot(
        {
          root: this.#rootOf(container),
          binds: [[join(this.#dir, 'hosts'), '/etc/hosts'], ...binds],
          env: given,
          ...(uid !== undefined && { uid }),
        },
        [...command, ...args].map(filled),
      ),
    );
  }

  /** Of a Secret or ConfigMap; as a kubelet has it that was cut off since. */
  async #content(
    kind: 'secrets' | 'configmaps',
    { secretName, name = secretName, items }: Named,
  ): Promise<[name: string, content: Buffer][]> {
    const { namespace } = this.object.metadata;
    const { data = {} } = (await this.#options.cluster.api(
      'GET',
      `/api/v1/namespaces/${namespace}/${kind}/${name}`,
    )) as { data?: Record<string, string> };
    const all = items ?? Object.keys(data).map((key) => ({ key, path: key }));
    return all.map(({ key, path }) => [
      path,
      Buffer.from(data[key]!, kind === 'secrets' ? 'base64' : 'utf8'),
    ]);
  }

  async #makeVolume({ name, hostPath, secret, configMap, projected }: Volume): Promise<void> {
    const at = join(this.#dir, name);
    if (hostPath) {
      // Of the node: it outlives the pod.
      const kept = join(this.#options.dir, 'host', hostPath.path);
      await mkdir(kept, { recursive: true });
      await run(['ln', '-sfn', kept, at]);
      return;
    }
    await mkdir(at, { recursive: true });
    await chmod(at, 0o777);
    const files: [string, Buffer][] = [];
    if (secret) files.push(...(await this.#content('secrets', secret)));
    if (configMap) files.push(...(await this.#content('configmaps', configMap)));
    for (const source of projected?.sources ?? []) {
      const { namespace } = this.object.metadata;
      if (source.serviceAccountToken) {
        const account = this.object.spec.serviceAccountName ?? 'default';
        const { name, uid } = this.object.metadata;
        const token = await this.#options.cluster.tokenOf(namespace, account, { pod: { name, uid } });
        files.push([source.serviceAccountToken.path, Buffer.from(token)]);
      }
      if (source.configMap) files.push(...(await this.#content('configmaps', source.configMap)));
      // Of the downward API only what every pod has of it.
      if (source.downwardAPI) files.push(['namespace', Buffer.from(namespace)]);
    }
    for (const [path, content] of files) await writeFile(join(at, path), content, { mode: 0o644 });
  }

  /** Runs `argv` as `uid` where a container is; standard output. */
  exec(container: string, argv: readonly string[], uid = 1000): Promise<string> {
    const all = [...(this.object.spec.initContainers ?? []), ...this.object.spec.containers];
    const root = this.#rootOf(all.find(({ name }) => name === container)!);
    const child = this.#children.get(container);
    const enter = ['nsenter', '-t', String(child?.pid), '-n', '-m'];
    const as = ['chroot', `--userspec=${uid}:${uid}`, root];
    // Without what the runner of the tests gives to its own.
    return run(['env', '-i', `PATH=${process.env.PATH}`, ...enter, ...as, ...argv]);
  }

  /** SIGKILL; it is started again. */
  async kill9(container: string): Promise<void> {
    const child = this.#children.get(container)!;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  async end(): Promise<void> {
    this.#ended = true;
    for (const child of [...this.#children.values()]) {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    }
    this.#forget();
    await this.#network?.remove();
  }
}

/** Runs what is scheduled to its node until it is closed. */
export async function startKubelet(options: KubeletOptions): Promise<Kubelet> {
  const { cluster, road, end, node: name, labels = {}, network } = options;
  const node = await addNode(cluster, name, { labels, address: road[end].address });
  const pods = new Map<string, Promise<RunningPod>>();
  let hears = true;
  let closed = false;
  let last = 1;

  const begin = async (object: PodObject): Promise<RunningPod> => {
    last += 1;
    const own = object.spec.hostNetwork ? undefined : await road.pod(end, `${network}.${last}`);
    const pod = new RunningPod(object, options, own);
    void pod.start().catch((error) => options.onLine?.(pod.name, '', String(error)));
    return pod;
  };
  const say = async (pod: RunningPod): Promise<void> => {
    const ready = await pod.isReady();
    if (!hears || ready === pod.ready) return;
    const { namespace, name } = pod.object.metadata;
    const status = {
      phase: 'Running',
      hostIP: road[end].address,
      podIP: pod.address,
      podIPs: [{ ip: pod.address }],
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
    };
    await cluster.api('PATCH', `/api/v1/namespaces/${namespace}/pods/${name}/status`, { status }, STRATEGIC);
    pod.ready = ready;
  };
  const look = async (): Promise<void> => {
    const { items } = (await cluster.api('GET', `/api/v1/pods?fieldSelector=spec.nodeName=${name}`)) as {
      items: PodObject[];
    };
    for (const object of items) {
      const { uid, deletionTimestamp, namespace, name } = object.metadata;
      if (!deletionTimestamp) {
        if (!pods.has(uid)) pods.set(uid, begin(object));
        continue;
      }
      await (await pods.get(uid))?.end();
      pods.delete(uid);
      await cluster.api('DELETE', `/api/v1/namespaces/${namespace}/pods/${name}?gracePeriodSeconds=0`);
    }
    for (const pod of pods.values()) await say(await pod);
  };
  const loop = (async () => {
    while (!closed) {
      // The server may be dead on purpose.
      if (hears) await look().catch((error) => options.onLine?.('', 'kubelet', String(error)));
      await sleep(LOOK_EVERY);
    }
  })();

  return {
    node,
    async pod(namespace, pattern) {
      for (const deadline = Date.now() + 60_000; ; await sleep(50)) {
        for (const each of await Promise.all(pods.values()))
          if (each.object.metadata.namespace === namespace && pattern.test(each.name) && each.ready)
            return each;
        if (Date.now() > deadline) throw new Error(`no pod ${pattern} is ready on ${name}`);
      }
    },
    cutOff() {
      hears = false;
      node.silence();
    },
    async reconnect() {
      hears = true;
      // What was said meanwhile of its pods is not what they are.
      for (const pod of pods.values()) (await pod).ready = false;
      await node.speak();
    },
    async close() {
      closed = true;
      await loop;
      node.silence();
      for (const pod of pods.values()) await (await pod).end();
    },
  };
}
