import { hostname } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import type { Issuer } from '../identity/authority.ts';
import { checkTrustDomain, DEFAULT_TRUST_DOMAIN, sidecarId } from '../identity/spiffe.ts';
import { parseDuration } from '../policy/units.ts';
import { LaybyError } from '../telemetry/error.ts';

interface Options {
  data: string;
  trustDomain: string;
}

interface IssueOptions extends Options {
  out?: string;
  secret?: string;
  life: string;
}

/** `layby identity`: the built-in certificate authority. */
export const identityCommand = () =>
  new Command('identity')
    .description('certificates of sidecars on other machines, by the built-in authority')
    .addCommand(
      withData('issue')
        .description('write a certificate for a sidecar, with which it reaches the control plane over TLS')
        .argument('<node>', 'its node id')
        .option('--out <dir>', 'where the files go; Envoy reads them again when they are replaced')
        .option(
          '--secret <namespace/name>',
          'print them as a Secret of Kubernetes, for sidecars that are injected',
        )
        .option('--life <duration>', 'how long it is good for', '8760h')
        .action(issue),
    )
    .addCommand(
      withData('rotate')
        .description(
          'change the root, in two steps: the first makes one that all shall trust, the second uses it',
        )
        .action(rotate),
    );

const withData = (name: string) =>
  new Command(name)
    .option('--data <dir>', 'the data directory of layby up', 'layby-data')
    .option('--trust-domain <name>', 'of all SPIFFE ids of the mesh', DEFAULT_TRUST_DOMAIN);

const dirOf = ({ data }: Options): string => join(data, 'control-plane', 'identity');

async function open(options: Options) {
  // Not before it is needed: other commands shall not wait for what makes certificates.
  const { Authority } = await import('../identity/authority.ts');
  return Authority.open(dirOf(options), checkTrustDomain(options.trustDomain));
}

/** On an edge node of a cluster the node's own. */
async function issuerOf(options: Options): Promise<Issuer> {
  const { NodeAuthority } = await import('../identity/node-authority.ts');
  if (!NodeAuthority.has(dirOf(options))) return open(options);
  return NodeAuthority.open(dirOf(options), checkTrustDomain(options.trustDomain), hostname());
}

async function issue(node: string, options: IssueOptions): Promise<void> {
  const { out, secret } = options;
  if ((out === undefined) === (secret === undefined)) {
    throw new LaybyError('LAYBY_IDENTITY_INVALID', 'nothing says where the certificate is to go', {
      remedy: 'name a directory with --out DIR, or a Secret with --secret NAMESPACE/NAME',
    });
  }
  const { writeCredential } = await import('../identity/files.ts');
  const id = sidecarId(options.trustDomain, node);
  const life = parseDuration(options.life);
  const authority = await issuerOf(options);
  const credential = await authority.issue(id, life);
  if (secret !== undefined) {
    const { identitySecret } = await import('../inject/identity-secret.ts');
    process.stdout.write(identitySecret(secret, id, credential, authority.bundle));
    return;
  }
  await writeCredential(out!, credential, authority.bundle);
  console.log(`${id}, good until ${new Date(credential.expiresAt).toISOString()}, is in ${out}`);
}

async function rotate(options: Options): Promise<void> {
  const { NodeAuthority } = await import('../identity/node-authority.ts');
  if (NodeAuthority.has(dirOf(options))) {
    throw new LaybyError('LAYBY_IDENTITY_INVALID', 'the roots of this node are those of its cluster', {
      remedy: 'rotate them in their Secret, as docs/kubernetes.md#roots-of-the-mesh says',
    });
  }
  const authority = await open(options);
  console.log(
    (await authority.rotate()) === 'added'
      ? 'a new root is trusted: write the certificates of other machines anew, then run this once more to use it'
      : 'the new root signs: write the certificates of other machines anew',
  );
}
