import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { BootstrapOptions } from '../embedded/bootstrap.ts';
import { checkTrustDomain, DEFAULT_TRUST_DOMAIN, partId, sidecarId } from '../identity/spiffe.ts';
import { LaybyError } from '../telemetry/error.ts';
import { parseAddress } from '../wire/address.ts';
import { labelOption } from './label-option.ts';

interface Options {
  xds: string;
  outbound: string | false;
  outboundTls?: string;
  egress?: string;
  inbound?: string;
  queue?: string;
  queueNode: string;
  admin?: string;
  ready?: string;
  health?: string;
  out?: string;
  adminTokenOut?: string;
  identity?: string;
  ownCertificates?: true;
  trustDomain: string;
  trustedCa: string;
  label: string[];
}

/** `layby bootstrap`: for an Envoy that somebody else starts. */
export const bootstrapCommand = () =>
  new Command('bootstrap')
    .description('print the bootstrap of a sidecar, for an Envoy that you start yourself')
    .argument('<node>', 'its node id')
    .requiredOption('--xds <address>', 'where the control plane is, HOST:PORT or unix:PATH')
    .option('--outbound <host:port>', 'where apps call', '127.0.0.1:15001')
    .option('--outbound-tls <host:port>', 'where TLS connections of apps are led to')
    .option('--no-outbound', 'no app calls this one')
    .option('--egress <address>', 'where the queue sends; only beside the queue')
    .option('--inbound <host:port>', 'where other machines reach the queue over TLS; only beside the queue')
    .option('--queue <host:port>', 'where that is, on another machine')
    .option('--queue-node <node>', 'the node id of the sidecar there', 'local')
    .option(
      '--admin <address>',
      "Envoy's own admin listener, unix:PATH or HOST:PORT; left out: none. Any web page of the machine reaches HOST:PORT",
    )
    .option('--ready <host:port>', 'where it answers GET /ready with 200 once it has its configuration')
    .option('--health <host:port>', 'where its workers answer GET /healthz with 200')
    .option('--out <file>', 'write it there instead of printing it')
    .option(
      '--admin-token-out <file>',
      'make a token for the admin listener of the control plane there, once',
    )
    .addOption(labelOption())
    .option(
      '--identity <source>',
      "its certificate: a directory as `layby identity issue` writes it, or unix:PATH of SPIRE's agent",
    )
    .option(
      '--own-certificates',
      'all of its TLS with --identity, nothing by the authority of the control plane',
    )
    .option('--trust-domain <name>', 'of all SPIFFE ids of the mesh', DEFAULT_TRUST_DOMAIN)
    .option('--trusted-ca <file>', 'authorities for https upstreams', '/etc/ssl/certs/ca-certificates.crt')
    .action(print);

/** SPIRE's are for everything; those of a directory for the stream to the control plane, where nothing else is said. On a Unix
 *  socket the control plane asks for none. */
function certificatesOf(
  identity: string,
  { xds, ownCertificates }: Options,
  controlPlane: string,
): Pick<BootstrapOptions, 'tls' | 'certificates' | 'spire'> {
  const spire = identity.startsWith('unix:') ? parseAddress(identity, '--identity') : undefined;
  const certificates = spire ? ('spire' as const) : { dir: resolve(identity) };
  return {
    ...(!xds.startsWith('unix:') && { tls: { certificates, controlPlane } }),
    ...((spire || ownCertificates) && { certificates }),
    ...(spire && { spire }),
  };
}

async function print(node: string, options: Options): Promise<void> {
  const { bootstrap } = await import('../embedded/bootstrap.ts');
  const { identity, outbound, outboundTls, egress, inbound, queue, queueNode, ready, health, trustedCa } =
    options;
  if (options.ownCertificates && !identity) {
    throw new LaybyError('LAYBY_IDENTITY_INVALID', '--own-certificates says nothing without --identity', {
      remedy: 'name the directory with its certificate, key and roots with --identity DIR',
    });
  }
  const trustDomain = checkTrustDomain(options.trustDomain);
  const controlPlane = partId(trustDomain, 'control-plane');
  const made = bootstrap({
    node,
    labels: options.label,
    xds: parseAddress(options.xds, '--xds'),
    ...(options.admin && { admin: parseAddress(options.admin, '--admin') }),
    ...(outbound && { outbound: parseAddress(outbound, '--outbound') }),
    ...(outboundTls && { outboundTls: parseAddress(outboundTls, '--outbound-tls') }),
    ...(egress && { egress: parseAddress(egress, '--egress') }),
    ...(inbound && { inbound: parseAddress(inbound, '--inbound') }),
    ...(ready && { ready: parseAddress(ready, '--ready') }),
    ...(health && { health: parseAddress(health, '--health') }),
    ...(queue && {
      queue: { address: parseAddress(queue, '--queue'), id: sidecarId(trustDomain, queueNode) },
    }),
    ...(identity && certificatesOf(identity, options, controlPlane)),
    trustDomain,
    trustedCa,
  });
  const text = JSON.stringify(made, undefined, 2);
  if (options.out) await writeFile(options.out, `${text}\n`);
  else console.log(text);
  if (options.adminTokenOut) await makeToken(options.adminTokenOut);
}

/** One that is there stays. */
async function makeToken(path: string): Promise<void> {
  const token = randomBytes(24).toString('base64url');
  await writeFile(path, `${token}\n`, { flag: 'wx', mode: 0o600 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
}
