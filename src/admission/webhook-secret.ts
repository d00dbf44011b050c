// The Secret with the certificates of the webhooks: made by the replica that is first, and the same for all of them.

import type { Api } from '../policy/sources/kubernetes/api.ts';
import { hasStatus, orNone } from '../policy/sources/kubernetes/refusal.ts';
import { renewWebhookTls, type WebhookTls } from './webhook-tls.ts';

/** Of one look: with more replicas than that somebody else has written it. */
const ATTEMPTS = 5;

export interface WebhookSecretOptions {
  api: Api;
  namespace: string;
  name: string;
  /** That the API server calls. */
  hosts: readonly string[];
  now: () => number;
}

interface Secret {
  metadata: { resourceVersion: string };
  data?: Record<string, string>;
}

const FIELDS: Readonly<Record<keyof WebhookTls, string>> = {
  bundle: 'ca.crt',
  authorityKey: 'ca.key',
  certificate: 'tls.crt',
  key: 'tls.key',
};
const NAMES = Object.keys(FIELDS) as (keyof WebhookTls)[];

const dataOf = (tls: WebhookTls): Record<string, string> =>
  Object.fromEntries(NAMES.map((name) => [FIELDS[name], Buffer.from(tls[name]).toString('base64')]));

function tlsIn({ data = {} }: Secret): WebhookTls | undefined {
  if (!NAMES.every((name) => data[FIELDS[name]])) return undefined;
  return Object.fromEntries(
    NAMES.map((name) => [name, Buffer.from(data[FIELDS[name]]!, 'base64').toString()]),
  ) as unknown as WebhookTls;
}

/** Reads it, and writes what is due: `known` where it was deleted, so that trust stays. Errors: KubernetesError. */
export async function syncWebhookSecret(
  options: WebhookSecretOptions,
  known: WebhookTls | undefined,
): Promise<WebhookTls> {
  const { api, namespace, name, hosts, now } = options;
  const all = `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets`;
  const path = `${all}/${encodeURIComponent(name)}`;
  for (let attempt = 1; ; attempt += 1) {
    const found = (await api.get(path).catch(orNone(404))) as Secret | undefined;
    const stored = found && tlsIn(found);
    const next = await renewWebhookTls(stored ?? known, hosts, now());
    if (stored && !next) return stored;
    const tls = (next ?? known)!;
    try {
      if (found) await api.put(path, { ...found, data: { ...found.data, ...dataOf(tls) } });
      else
        await api.post(all, {
          apiVersion: 'v1',
          kind: 'Secret',
          metadata: {
            name,
            labels: { 'app.kubernetes.io/name': 'layby', 'app.kubernetes.io/managed-by': 'layby' },
          },
          type: 'kubernetes.io/tls',
          data: dataOf(tls),
        });
      return tls;
    } catch (error) {
      // Another replica was first: what it wrote counts.
      if (!hasStatus(error, 409) || attempt === ATTEMPTS) throw error;
    }
  }
}
