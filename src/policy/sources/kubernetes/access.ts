// Where the API server is and what Layby is there: from the files that Kubernetes puts into a pod, or from a kubeconfig.

import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { LaybyError, messageOf } from '../../../telemetry/error.ts';

export interface Access {
  /** `https://HOST:PORT` */
  server: string;
  /** PEM */
  ca?: string;
  certificate?: string;
  key?: string;
  /** Asked for each request: Kubernetes gives a pod another token every hour. */
  token(): Promise<string | undefined>;
}

const POD_FILES = '/var/run/secrets/kubernetes.io/serviceaccount';

const invalid = (message: string, remedy: string, cause?: unknown) =>
  new LaybyError('LAYBY_KUBERNETES_CONFIG_INVALID', message, { remedy, cause });

const read = async (path: string): Promise<string> => {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw invalid(`${path} cannot be read: ${messageOf(error)}`, 'check the path and its permissions', error);
  }
};

/** As a pod has it, by its service account. Errors: LAYBY_KUBERNETES_CONFIG_INVALID. */
export async function podAccess(env: NodeJS.ProcessEnv = process.env, files = POD_FILES): Promise<Access> {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = env;
  if (!host)
    throw invalid(
      'this is no pod of Kubernetes: KUBERNETES_SERVICE_HOST is not set',
      'name a kubeconfig with --kubeconfig FILE',
    );
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    ca: await read(`${files}/ca.crt`),
    token: async () => (await read(`${files}/token`)).trim(),
  };
}

/** Of the pod that this is; undefined: it is none. */
export async function podNamespace(files = POD_FILES): Promise<string | undefined> {
  const text = await readFile(`${files}/namespace`, 'utf8').catch(() => '');
  return text.trim() || undefined;
}

interface Named {
  name?: string;
}

/** The part of a kubeconfig that is used. */
interface Kubeconfig {
  'current-context'?: string;
  clusters?: (Named & { cluster?: Record<string, unknown> })[];
  users?: (Named & { user?: Record<string, unknown> })[];
  contexts?: (Named & { context?: { cluster?: string; user?: string } })[];
}

/** Of its current context. Errors: LAYBY_KUBERNETES_CONFIG_INVALID. */
export async function kubeconfigAccess(path: string): Promise<Access> {
  let config: Kubeconfig | null;
  try {
    config = parse(await read(path));
  } catch (error) {
    if (error instanceof LaybyError) throw error;
    throw invalid(
      `${path} is no kubeconfig: ${messageOf(error)}`,
      'name another with --kubeconfig FILE',
      error,
    );
  }
  const named = <Each extends Named>(list: readonly Each[] | undefined, name: string | undefined) =>
    list?.find((each) => each.name === name);
  const context = named(config?.contexts, config?.['current-context'])?.context;
  const cluster = named(config?.clusters, context?.cluster)?.cluster;
  const user = named(config?.users, context?.user)?.user ?? {};
  if (typeof cluster?.server !== 'string')
    throw invalid(`${path} names no cluster in its current context`, 'set current-context in it');
  for (const way of ['exec', 'auth-provider', 'username'])
    if (user[way] !== undefined)
      throw invalid(
        `${path} proves the user by ${way}`,
        'use a token, a token file, or a client certificate',
      );
  /** PEM, from a file or in base64. */
  const pem = async (from: Record<string, unknown>, field: string): Promise<string | undefined> => {
    const inside = from[`${field}-data`];
    if (typeof inside === 'string') return Buffer.from(inside, 'base64').toString();
    return typeof from[field] === 'string' ? read(resolve(dirname(path), from[field])) : undefined;
  };
  const { token, tokenFile } = user as { token?: string; tokenFile?: string };
  const [ca, certificate, key] = [
    await pem(cluster, 'certificate-authority'),
    await pem(user, 'client-certificate'),
    await pem(user, 'client-key'),
  ];
  return {
    server: cluster.server,
    ...(ca !== undefined && { ca }),
    ...(certificate !== undefined && { certificate }),
    ...(key !== undefined && { key }),
    token: async () =>
      tokenFile === undefined ? token : (await read(resolve(dirname(path), tokenFile))).trim(),
  };
}
