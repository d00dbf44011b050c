import { hostname } from 'node:os';
import { Command, Option } from 'commander';
import { checkTrustDomain, DEFAULT_TRUST_DOMAIN } from '../identity/spiffe.ts';
import { parseDuration } from '../policy/units.ts';
import { LaybyError } from '../telemetry/error.ts';
import { logger } from '../telemetry/log.ts';
import { parseAddress } from '../wire/address.ts';
import { adminHostOption, adminTokenOption, DEFAULT_ADMIN, readToken } from './admin-client.ts';
import { linkProbeEveryOption, linkProbeOption, probeUrl } from './link-probe.ts';
import { end, untilSignal } from './until-signal.ts';

interface RunOptions {
  policy: string[];
  policySource: 'files' | 'kubernetes';
  kubeconfig?: string;
  kubernetesNamespace?: string;
  kubernetesNode: string;
  kubernetesReportNamespace?: string;
  webhook?: string;
  webhookCertificate?: string;
  webhookKey?: string;
  data: string;
  shared?: string;
  xds: string;
  xdsTls?: string;
  trustDomain: string;
  tlsCertificate?: string;
  tlsKey?: string;
  tlsRoots?: string;
  admin: string;
  adminTokenFile?: string;
  adminHost: string[];
  health?: string;
  healthMetrics?: true;
  queue: string;
  queueAdmin: string;
  expectSidecars: string;
  linkProbe?: string;
  linkProbeEvery: string;
}

export const controlPlaneCommand = () =>
  new Command('control-plane')
    .description('run the control plane')
    .addOption(
      new Option('--policy <file...>', 'policy files or directories').default([], 'the last good policy'),
    )
    .addOption(
      new Option('--policy-source <kind>', 'where the policy is')
        .choices(['files', 'kubernetes'])
        .default('files'),
    )
    .option('--kubeconfig <file>', "how the API server is reached (default: by the pod's service account)")
    .option('--kubernetes-namespace <name>', 'only what is in this namespace (default: all)')
    .option('--kubernetes-node <name>', 'the node that it reports of to the cluster', hostname())
    .option(
      '--kubernetes-report-namespace <name>',
      "where it writes that report (default: the pod's own namespace, or else default)",
    )
    .option('--webhook <host:port>', 'where the API server asks whether an object is right, over TLS')
    .option('--webhook-certificate <file>', 'for --webhook (PEM)')
    .option('--webhook-key <file>', 'its key (PEM)')
    .requiredOption('--data <dir>', 'where the last good policy is kept')
    .option(
      '--shared <dir>',
      'what queue and control plane leave for each other (default: shared, beside --data)',
    )
    .requiredOption(
      '--xds <address>',
      'where sidecars and the queue of this machine attach, unix:PATH or HOST:PORT on the loopback',
    )
    .option('--xds-tls <host:port>', 'where those of other machines attach, over TLS on both sides')
    .option('--trust-domain <name>', 'of all SPIFFE ids of the mesh', DEFAULT_TRUST_DOMAIN)
    .option('--tls-certificate <file>', 'for --xds-tls, instead of the built-in authority (PEM)')
    .option('--tls-key <file>', 'its key (PEM)')
    .option('--tls-roots <file>', 'whom it trusts (PEM)')
    .option('--admin <address>', 'the admin listener, HOST:PORT or unix:PATH', DEFAULT_ADMIN)
    .addOption(adminTokenOption())
    .addOption(adminHostOption())
    .option(
      '--health <host:port>',
      'where GET /healthz and /readyz say whether it works, without the token (default: only at --admin)',
    )
    .option('--health-metrics', 'GET /metrics there too')
    .requiredOption('--queue <address>', 'where sidecars reach the queue')
    .requiredOption('--queue-admin <address>', "the queue's own admin listener")
    .option('--expect-sidecars <n>', 'sidecars without which it is not ready', '0')
    .addOption(linkProbeOption())
    .addOption(linkProbeEveryOption())
    .action(async (options: RunOptions) => {
      const log = logger('control-plane');
      const signal = untilSignal(log);
      // Not before it is needed: other commands shall not wait for gRPC and protobuf to be loaded.
      const { startControlPlane } = await import('../control-plane/control-plane.ts');
      const controlPlane = await startControlPlane({
        policy: options.policy,
        ...kubernetesOf(options),
        dir: options.data,
        ...(options.shared && { shared: options.shared }),
        xds: parseAddress(options.xds, '--xds'),
        ...(options.xdsTls && { xdsTls: parseAddress(options.xdsTls, '--xds-tls') }),
        ...tlsOf(options),
        trustDomain: checkTrustDomain(options.trustDomain),
        admin: parseAddress(options.admin, '--admin'),
        adminHosts: options.adminHost,
        ...(options.health && {
          health: { address: parseAddress(options.health, '--health'), metrics: !!options.healthMetrics },
        }),
        ...(options.adminTokenFile && { adminToken: readToken(options.adminTokenFile) }),
        queue: parseAddress(options.queue, '--queue'),
        queueAdmin: parseAddress(options.queueAdmin, '--queue-admin'),
        expectSidecars: Number(options.expectSidecars),
        ...(options.linkProbe && {
          probe: { url: probeUrl(options.linkProbe), every: parseDuration(options.linkProbeEvery) },
        }),
        log,
      });
      await signal;
      await end(log, () => controlPlane.close());
    });

function kubernetesOf({ policySource, policy, kubeconfig, ...options }: RunOptions) {
  if (policySource !== 'kubernetes') return {};
  if (policy.length > 0) {
    throw new LaybyError('LAYBY_POLICY_UNREADABLE', 'a policy cannot be in files and in Kubernetes at once', {
      remedy: 'leave out --policy, or --policy-source kubernetes',
    });
  }
  const { kubernetesNamespace: namespace, kubernetesNode: node } = options;
  const { kubernetesReportNamespace: reportNamespace } = options;
  return { kubernetes: { kubeconfig, namespace, node, reportNamespace }, ...webhookOf(options) };
}

function webhookOf({ webhook, webhookCertificate, webhookKey }: Partial<RunOptions>) {
  if (!webhook) return {};
  if (!webhookCertificate || !webhookKey) {
    throw new LaybyError('LAYBY_IDENTITY_INVALID', 'the API server asks a webhook over TLS alone', {
      remedy: 'name its certificate and key with --webhook-certificate FILE and --webhook-key FILE',
    });
  }
  const listen = parseAddress(webhook, '--webhook');
  return { webhook: { listen, certificate: webhookCertificate, key: webhookKey } };
}

function tlsOf({ tlsCertificate: certificate, tlsKey: key, tlsRoots: roots }: RunOptions) {
  if (certificate && key && roots) return { tls: { certificate, key, roots } };
  if (!certificate && !key && !roots) return {};
  throw new LaybyError(
    'LAYBY_IDENTITY_INVALID',
    'of --tls-certificate, --tls-key and --tls-roots one is missing',
    {
      remedy: 'name all three files, or none of them',
    },
  );
}
