import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import type { WebhookConfiguration } from '../admission/ca-bundles.ts';
import type { Admission, Reviewer } from '../admission/server.ts';
import { checkTrustDomain, DEFAULT_TRUST_DOMAIN } from '../identity/spiffe.ts';
import { timerMs } from '../platform/timer.ts';
import type { Aggregator } from '../policy/sources/kubernetes/aggregator.ts';
import type { Api } from '../policy/sources/kubernetes/api.ts';
import type { NodeSigner } from '../policy/sources/kubernetes/node-signer.ts';
import { parseDuration } from '../policy/units.ts';
import { LaybyError } from '../telemetry/error.ts';
import { type Logger, logger } from '../telemetry/log.ts';
import { formatAddress, parseAddress } from '../wire/address.ts';
import { end, untilSignal } from './until-signal.ts';

interface Options {
  listen: string;
  release: string;
  kubeconfig?: string;
  kubernetesNamespace?: string;
  reportNamespace?: string;
  inject: boolean;
  validate: boolean;
  policy: boolean;
  settings?: string;
  tlsCertificate?: string;
  tlsKey?: string;
  tlsHost: string[];
  linger?: string;
  trustDomain: string;
  authoritySecret?: string;
}

const several = (value: string, before: string[]): string[] => [...before, value];

/** `layby cluster`: what runs once for a cluster, beside its API server. */
export const clusterCommand = () =>
  new Command('cluster')
    .description(
      'run the cluster part of Kubernetes: sidecars for new pods, checks and status of policy objects',
    )
    .option('--listen <host:port>', 'where the API server reaches it', '0.0.0.0:9443')
    .option('--release <name>', 'what the names of its objects begin with', 'layby')
    .option('--kubeconfig <file>', "how the API server is reached (default: by the pod's service account)")
    .option('--kubernetes-namespace <name>', 'only policy objects of this namespace (default: all)')
    .option('--report-namespace <name>', "Layby's own, with its Secret and Reports (default: the pod's)")
    .option('--no-inject', 'serve no /inject')
    .option('--no-validate', 'serve no /validate')
    .option('--no-policy', 'neither that nor the status: the policy is not in the cluster')
    .option('--settings <file>', 'of injection: docs/injection.md')
    .option('--tls-certificate <file>', 'of the listener, instead of one that it makes (PEM)')
    .option('--tls-key <file>', 'its key (PEM)')
    .option('--tls-host <name>', 'that the API server calls, beside the Service; repeatable', several, [])
    .option('--trust-domain <name>', 'of all SPIFFE ids of the mesh', DEFAULT_TRUST_DOMAIN)
    .option(
      '--authority-secret <name>',
      'with authority.json, by which it signs for the edge nodes (default: one that it makes)',
    )
    .option('--linger <duration>', 'before it ends: requests still come for a moment (default: at once)')
    .action(cluster);

const missing = (message: string, remedy: string): LaybyError =>
  new LaybyError('LAYBY_IDENTITY_INVALID', message, { remedy });

function filesOf({ tlsCertificate: certificate, tlsKey: key }: Options) {
  if (certificate && key) return { certificate, key };
  if (!certificate && !key) return undefined;
  throw missing('of --tls-certificate and --tls-key one is missing', 'name both files, or none of them');
}

async function ownNamespace({ reportNamespace }: Options): Promise<string> {
  const { podNamespace } = await import('../policy/sources/kubernetes/access.ts');
  const namespace = reportNamespace ?? (await podNamespace());
  if (namespace) return namespace;
  throw missing('the namespace of Layby is not known here', 'name it with --report-namespace NAME');
}

async function apiOf({ kubeconfig }: Options): Promise<Api> {
  const { Api } = await import('../policy/sources/kubernetes/api.ts');
  const { kubeconfigAccess, podAccess } = await import('../policy/sources/kubernetes/access.ts');
  return new Api(() => (kubeconfig === undefined ? podAccess() : kubeconfigAccess(kubeconfig)));
}

async function aggregatorOf(
  api: Api,
  options: Options,
  onReports: () => void,
  log: Logger,
): Promise<Aggregator> {
  const { Aggregator } = await import('../policy/sources/kubernetes/aggregator.ts');
  const { Snapshots } = await import('../control-plane/snapshots.ts');
  const { loadXds } = await import('../control-plane/xds/registry.ts');
  // Only whether resources can be made: no queue is called.
  const snapshots = new Snapshots(await loadXds(), { host: '127.0.0.1', port: 1 });
  return new Aggregator({
    api,
    namespace: options.kubernetesNamespace,
    reportNamespace: await ownNamespace(options),
    identity: `${hostname()}_${randomUUID()}`,
    leaseName: `${options.release}-cluster`,
    refusal: snapshots.refusal.bind(snapshots),
    onReports,
    log,
  });
}

async function signerOf(
  api: Api,
  options: Options,
  aggregator: Aggregator,
  log: Logger,
): Promise<NodeSigner> {
  const { NodeSigner } = await import('../policy/sources/kubernetes/node-signer.ts');
  const { authoritySecret, release } = options;
  return new NodeSigner({
    ...{
      api,
      namespace: await ownNamespace(options),
      trustDomain: checkTrustDomain(options.trustDomain),
      log,
    },
    ...{ name: authoritySecret ?? `${release}-cluster-authority`, makes: authoritySecret === undefined },
    requests: () => aggregator.requests,
    leads: () => aggregator.leads && aggregator.synced,
  });
}

const configurationsOf = ({ release, inject, validate, policy }: Options): WebhookConfiguration[] => [
  ...(inject ? [{ kind: 'MutatingWebhookConfiguration' as const, name: `${release}-inject` }] : []),
  ...(validate && policy
    ? [{ kind: 'ValidatingWebhookConfiguration' as const, name: `${release}-validate` }]
    : []),
];

async function reviewersOf(
  options: Options,
  aggregator: Aggregator | undefined,
): Promise<Record<string, Reviewer>> {
  const { injectReviewer } = await import('../inject/review.ts');
  const { readSettings } = await import('../inject/read-settings.ts');
  const { clusterReviewer } = await import('../policy/sources/kubernetes/cluster-review.ts');
  return {
    ...(options.inject && { '/inject': injectReviewer(await readSettings(options.settings)) }),
    ...(aggregator && options.validate && { '/validate': clusterReviewer(aggregator) }),
  };
}

async function cluster(options: Options): Promise<void> {
  const log = logger('cluster');
  const signal = untilSignal(log);
  const listen = parseAddress(options.listen, '--listen');
  const linger = options.linger ? parseDuration(options.linger) : 0;
  const files = filesOf(options);
  const namespace = files ? undefined : await ownNamespace(options);
  const api = files && !options.policy ? undefined : await apiOf(options);
  let signer: NodeSigner | undefined;
  const aggregator =
    api && options.policy ? await aggregatorOf(api, options, () => signer?.changed(), log) : undefined;
  signer = api && aggregator && (await signerOf(api, options, aggregator, log));
  const reviewers = await reviewersOf(options, aggregator);
  const { serveAdmission } = await import('../admission/server.ts');
  aggregator?.start();
  signer?.start();
  let ending = false;
  let trusted = () => true;
  const notReady = () =>
    ending
      ? 'it ends'
      : !trusted()
        ? 'the webhook configurations do not trust its certificate yet'
        : aggregator?.synced === false
          ? 'the policy objects are not read yet'
          : undefined;
  const serving = { listen, reviewers, notReady, log };
  let admission: Admission | undefined;
  const close: (() => void)[] = [];
  if (files) admission = await serveAdmission({ ...serving, ...files });
  else {
    const { WebhookCertificate } = await import('../admission/webhook-certificate.ts');
    const { release, tlsHost } = options;
    const service = `${release}-cluster.${namespace}.svc`;
    let failed: (error: unknown) => void = () => {};
    const first = new Promise<void>((resolve, reject) => {
      failed = reject;
      const certificate = new WebhookCertificate({
        ...{ api: api!, namespace: namespace!, secret: `${release}-cluster-tls`, log },
        hosts: [service, `${service}.cluster.local`, ...tlsHost],
        configurations: configurationsOf(options),
        onPair: async (pair) => {
          if (admission) return admission.replace(pair);
          try {
            admission = await serveAdmission({ ...serving, pair });
            resolve();
          } catch (error) {
            failed(error);
          }
        },
      });
      trusted = () => certificate.ready;
      close.push(() => certificate.close());
      void certificate.run();
    });
    await Promise.race([first, signal]);
  }
  if (admission) log.info({ address: formatAddress(admission.address) }, 'ready');
  await signal;
  ending = true;
  if (linger > 0) await sleep(timerMs(linger));
  await end(log, async () => {
    for (const each of close) each();
    admission?.close();
    await signer?.close();
    await aggregator?.close();
    await api?.close();
  });
}
