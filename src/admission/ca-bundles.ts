// Writes into webhook configurations whom the API server is to trust, and again when somebody takes it out, as GitOps does that applies them
// as they are in Git. By server-side apply of this one field, so that others who apply do not own it.

import { setTimeout as sleep } from 'node:timers/promises';
import { timerMs } from '../platform/timer.ts';
import type { Api } from '../policy/sources/kubernetes/api.ts';
import { orNone } from '../policy/sources/kubernetes/refusal.ts';

const ROOT = '/apis/admissionregistration.k8s.io/v1';
const MANAGER = 'layby-cluster';
/** A fight with another writer is no flood, ms. */
const PAUSE_MS = 1_000;
/** s */
const WATCH_S = 300;

/** Which configuration. */
export interface WebhookConfiguration {
  kind: 'MutatingWebhookConfiguration' | 'ValidatingWebhookConfiguration';
  name: string;
}

interface Seen {
  webhooks?: { name: string; clientConfig: { caBundle?: string } }[];
}

const pathTo = ({ kind }: WebhookConfiguration): string => `${ROOT}/${kind.toLowerCase()}s`;

/** Where a configuration does not exist nothing is written. Returns whether something was. Errors: KubernetesError. */
export async function writeCaBundle(
  api: Api,
  configuration: WebhookConfiguration,
  bundle: string,
): Promise<boolean> {
  const path = `${pathTo(configuration)}/${encodeURIComponent(configuration.name)}`;
  const seen = (await api.get(path).catch(orNone(404))) as Seen | undefined;
  const caBundle = Buffer.from(bundle).toString('base64');
  const { webhooks = [] } = seen ?? {};
  if (webhooks.every(({ clientConfig }) => clientConfig.caBundle === caBundle)) return false;
  const { kind, name } = configuration;
  const written = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind,
    metadata: { name },
    webhooks: webhooks.map((each) => ({ name: each.name, clientConfig: { caBundle } })),
  };
  await api.apply(path, written, MANAGER);
  return true;
}

/** Calls `onChange` at each change of a configuration, until `signal`. `retry`: after a failure, ms. */
export async function watchConfiguration(
  api: Api,
  configuration: WebhookConfiguration,
  { signal, retry, onChange }: { signal: AbortSignal; retry: number; onChange: () => Promise<void> },
): Promise<void> {
  const field = encodeURIComponent(`metadata.name=${configuration.name}`);
  const path = `${pathTo(configuration)}?watch=true&fieldSelector=${field}&timeoutSeconds=${WATCH_S}`;
  while (!signal.aborted) {
    let pause = PAUSE_MS;
    try {
      for await (const { type } of api.watch(path, signal)) {
        if (type === 'DELETED' || type === 'BOOKMARK') continue;
        await onChange();
        await sleep(PAUSE_MS, undefined, { signal });
      }
    } catch {
      // The looks go on beside it, and say what is wrong.
      pause = retry;
    }
    await sleep(timerMs(pause), undefined, { signal }).catch(() => {});
  }
}
