import { join } from 'node:path';
import { Command } from 'commander';
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

async function open({ data, trustDomain }: Options) {
  // Not before it is needed: other commands shall not wait for what makes certificates.
  const { Authority } = await import('../identity/authority.ts');
  return Authority.open(join(data, 'control-plane', 'identity'), checkTrustDomain(trustDomain));
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
  const authority = await open(options);
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
  const authority = await open(options);
  console.log(
    (await authority.rotate()) === 'added'
      ? 'a new root is trusted: write the certificates of other machines anew, then run this once more to use it'
      : 'the new root signs: write the certificates of other machines anew',
  );
}
