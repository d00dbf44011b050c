// A Kubernetes control plane on the loopback: etcd and a kube-apiserver, and on demand the controller manager and the scheduler. Each may
// be killed and started again on what it wrote.

import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onPath } from '../../../src/parts/executable.ts';
import { noGo } from '../go.ts';
import { endsWithTheRig } from '../lifetime.ts';
import { freePort } from '../ports.ts';
import { sigkill } from '../processes.ts';
import { type KubernetesProgram, kubernetesProgram } from './programs.ts';

/** For a test's `skip`. */
export const noKubernetes = noGo;

/** Two cores with other work on them, ms. */
const PATIENCE_MS = 90_000;

export interface ClusterOptions {
  /** Everything is kept here. */
  dir: string;
  /** Beside etcd and the API server. */
  with?: readonly ('kube-controller-manager' | 'kube-scheduler')[];
  /** A node that has said nothing for so long is given up, s; default: as Kubernetes has it. */
  patience?: number;
}

/** A program of the cluster that a test may kill. */
export interface Component {
  readonly pid: number;
  /** SIGKILL; resolves when it is gone. */
  kill9(): Promise<void>;
  /** On the same port and with what it wrote; resolves when it answers. */
  start(): Promise<void>;
}

export interface Cluster {
  /** `https://127.0.0.1:PORT` */
  url: string;
  /** PEM of whom the API server's certificate is from. */
  ca: string;
  /** Of a user who may do everything, for `Authorization: Bearer`. */
  token: string;
  /** A file with the three above. */
  kubeconfig: string;
  etcd: Component;
  apiServer: Component;
  /** Standard output. Rejects with kubectl's own words. */
  kubectl(args: readonly string[], stdin?: string): Promise<string>;
  /** A request to the API server, JSON in and out. Rejects where the answer is no 2xx. */
  api(method: string, path: string, body?: unknown, contentType?: string): Promise<unknown>;
  /** etcd forgets all revisions before now, and the API server its cached ones are older: a watch from before gets 410. */
  compact(): Promise<void>;
  /** A token of this service account, which must exist; `seconds` of at least 600. `pod`: bound to it, and so to its node. */
  tokenOf(
    namespace: string,
    serviceAccount: string,
    options?: { seconds?: number; pod?: { name: string; uid: string } },
  ): Promise<string>;
  close(): Promise<void>;
}

const ADMIN_TOKEN = 'rig-admin';

class Program implements Component {
  readonly #name: KubernetesProgram;
  readonly #args: readonly string[];
  readonly #log: string;
  readonly #ready: () => Promise<void>;
  #child: ChildProcess | undefined;
  #forget = () => {};

  constructor(
    name: KubernetesProgram,
    args: readonly string[],
    log: string,
    ready: () => Promise<void> = async () => {},
  ) {
    this.#name = name;
    this.#args = args;
    this.#log = log;
    this.#ready = ready;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.#name} does not run`);
    return pid;
  }

  async start(): Promise<void> {
    const path = await kubernetesProgram(this.#name);
    const fd = openSync(this.#log, 'a');
    // They die with the test also where that is killed, where there is a setpriv.
    const setpriv = await onPath('setpriv');
    const argv = [...(setpriv ? [setpriv, '--pdeathsig', 'KILL', '--'] : []), path, ...this.#args];
    const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', fd, fd] });
    closeSync(fd);
    await once(child, 'spawn');
    this.#child = child;
    const { pid } = this;
    this.#forget = endsWithTheRig(() => sigkill(pid));
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const failure = await this.#ready().then(() => undefined, String);
      if (failure === undefined) return;
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`${this.#name} ended: ${readFileSync(this.#log, 'utf8').slice(-4096)}`);
      if (performance.now() > deadline) throw new Error(`${this.#name} is not ready: ${failure}`);
      await sleep(50); // It has no event to wait for: this is what a probe does.
    }
  }

  async kill9(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child) return;
    this.#forget();
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }
}

const answerOf = (
  url: string,
  { method = 'GET', token = '', ca = '', body = '', type = 'application/json' } = {},
): Promise<{ status: number; text: string }> =>
  new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, ...(body && { 'content-type': type }) };
    const asked = request(url, { method, ca, headers, agent: false, timeout: 30_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => {
        text += piece;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      response.on('error', reject);
    });
    asked.on('error', reject);
    asked.on('timeout', () => asked.destroy(new Error('no answer within 30 s')));
    asked.end(body);
  });

const isThere = async (url: string): Promise<void> => {
  const { status } = await fetch(url);
  if (status !== 200) throw new Error(`${url} answers ${status}`);
};

/** For files in which every user is allowed everything, or nobody else is there to read them. */
const kubeconfigText = (url: string, ca: string, token: string): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'rig',
    clusters: [
      {
        name: 'rig',
        cluster: { server: url, 'certificate-authority-data': Buffer.from(ca).toString('base64') },
      },
    ],
    users: [{ name: 'rig', user: { token } }],
    contexts: [{ name: 'rig', context: { cluster: 'rig', user: 'rig', namespace: 'default' } }],
  });

/** A file with which `token` is used. */
export const writeKubeconfig = (
  path: string,
  { url, ca }: Pick<Cluster, 'url' | 'ca'>,
  token: string,
): Promise<void> => writeFile(path, kubeconfigText(url, ca, token));

const kubectl = async (path: string, args: readonly string[], stdin: string): Promise<string> => {
  const child = spawn(path, args, { stdio: 'pipe' });
  let out = '';
  let words = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    out += piece;
  });
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    words += piece;
  });
  child.stdin.on('error', () => {}); // It may end without having read what it was given.
  child.stdin.end(stdin);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(words.trim() || `kubectl ended with ${code}`);
  return out;
};

/** Ready in 3 to 5 s once its programs are built. `close` it, or it ends with the test process. */
export async function startCluster({ dir, with: others = [], patience }: ClusterOptions): Promise<Cluster> {
  await mkdir(dir, { recursive: true });
  const [client, peer, secure] = [await freePort(), await freePort(), await freePort()];
  const etcdUrl = `http://127.0.0.1:${client}`;
  const url = `https://127.0.0.1:${secure}`;
  const certificates = join(dir, 'certificates');
  const keyFile = join(dir, 'service-accounts.pem');
  const tokensFile = join(dir, 'tokens.csv');
  const kubeconfig = join(dir, 'kubeconfig');
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  await writeFile(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  await writeFile(tokensFile, `${ADMIN_TOKEN},rig,rig,system:masters\n`);

  const etcd = new Program(
    'etcd',
    [
      ...['--name', 'rig', '--data-dir', join(dir, 'etcd')],
      ...['--listen-client-urls', etcdUrl, '--advertise-client-urls', etcdUrl],
      ...['--listen-peer-urls', `http://127.0.0.1:${peer}`],
      ...['--initial-advertise-peer-urls', `http://127.0.0.1:${peer}`],
      ...['--initial-cluster', `rig=http://127.0.0.1:${peer}`, '--unsafe-no-fsync'],
    ],
    join(dir, 'etcd.log'),
    () => isThere(`${etcdUrl}/health`),
  );
  let ca = '';
  const apiServer = new Program(
    'kube-apiserver',
    [
      ...['--etcd-servers', etcdUrl, '--etcd-compaction-interval', '0'],
      ...['--bind-address', '127.0.0.1', '--secure-port', String(secure), '--cert-dir', certificates],
      ...['--token-auth-file', tokensFile, '--authorization-mode', 'RBAC'],
      // As clusters have it: a kubelet writes its own node alone, and not every label.
      ...['--enable-admission-plugins', 'NodeRestriction'],
      ...['--service-account-key-file', keyFile, '--service-account-signing-key-file', keyFile],
      ...['--service-account-issuer', 'https://kubernetes.default.svc'],
      ...['--service-cluster-ip-range', '10.96.0.0/16'],
      // There are no endpoints on the loopback.
      ...['--endpoint-reconciler-type', 'none'],
    ],
    join(dir, 'kube-apiserver.log'),
    async () => {
      // The server made it, with its authority behind it.
      ca = readFileSync(join(certificates, 'apiserver.crt'), 'utf8');
      const { status, text } = await answerOf(`${url}/readyz`, { ca, token: ADMIN_TOKEN });
      if (status !== 200) throw new Error(text);
    },
  );
  const parts = [etcd, apiServer];
  const close = async () => {
    for (const part of parts.toReversed()) await part.kill9();
  };
  try {
    await etcd.start();
    await apiServer.start();
    await writeKubeconfig(kubeconfig, { url, ca }, ADMIN_TOKEN);
    for (const name of others) {
      const args = ['--kubeconfig', kubeconfig, '--leader-elect=false', '--secure-port', '0'];
      const own =
        name === 'kube-controller-manager'
          ? [
              ...['--service-account-private-key-file', keyFile],
              ...['--root-ca-file', `${certificates}/apiserver.crt`],
              ...(patience === undefined
                ? []
                : ['--node-monitor-grace-period', `${patience}s`, '--node-monitor-period', '1s']),
            ]
          : [];
      const part = new Program(name, [...args, ...own], join(dir, `${name}.log`));
      parts.push(part);
      await part.start();
    }
  } catch (error) {
    await close();
    throw error;
  }

  const api: Cluster['api'] = async (method, path, body, type = 'application/json') => {
    const text = body === undefined ? '' : JSON.stringify(body);
    const answer = await answerOf(`${url}${path}`, { method, token: ADMIN_TOKEN, ca, body: text, type });
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return JSON.parse(answer.text) as unknown;
  };
  return {
    url,
    get ca() {
      return ca;
    },
    token: ADMIN_TOKEN,
    kubeconfig,
    etcd,
    apiServer,
    kubectl: async (args, stdin = '') =>
      kubectl(
        await kubernetesProgram('kubectl'),
        ['--kubeconfig', kubeconfig, '--cache-dir', join(dir, 'kubectl'), ...args],
        stdin,
      ),
    api,
    compact: async () => {
      const { header } = (await etcdCall(`${etcdUrl}/v3/kv/range`, { key: 'AA==' })) as {
        header: { revision: string };
      };
      await etcdCall(`${etcdUrl}/v3/kv/compaction`, { revision: header.revision, physical: true });
    },
    tokenOf: async (namespace, serviceAccount, { seconds = 3600, pod } = {}) => {
      const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`;
      const answer = await api('POST', path, {
        spec: {
          expirationSeconds: seconds,
          ...(pod && { boundObjectRef: { kind: 'Pod', apiVersion: 'v1', ...pod } }),
        },
      });
      return (answer as { status: { token: string } }).status.token;
    },
    close,
  };
}

async function etcdCall(url: string, body: unknown): Promise<unknown> {
  const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${url}: ${await answer.text()}`);
  return answer.json();
}
