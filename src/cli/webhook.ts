import { Command } from 'commander';
import { logger } from '../telemetry/log.ts';
import { formatAddress, parseAddress } from '../wire/address.ts';
import { end, untilSignal } from './until-signal.ts';

interface Options {
  listen: string;
  tlsCertificate: string;
  tlsKey: string;
  settings?: string;
}

/** `layby webhook`: for the API server of Kubernetes. */
export const webhookCommand = () =>
  new Command('webhook')
    .description('run the admission webhook of Kubernetes: sidecars for new pods')
    .option('--listen <host:port>', 'where the API server reaches it', '0.0.0.0:9443')
    .requiredOption('--tls-certificate <file>', 'what it proves itself with there (PEM)')
    .requiredOption('--tls-key <file>', 'its key (PEM)')
    .option('--settings <file>', 'of injection: docs/injection.md')
    .action(webhook);

async function webhook(options: Options): Promise<void> {
  const signal = untilSignal();
  const { serveAdmission } = await import('../admission/server.ts');
  const { injectReviewer } = await import('../inject/review.ts');
  const { readSettings } = await import('../inject/read-settings.ts');
  const log = logger('webhook');
  const admission = await serveAdmission({
    listen: parseAddress(options.listen, '--listen'),
    certificate: options.tlsCertificate,
    key: options.tlsKey,
    reviewers: { '/inject': injectReviewer(await readSettings(options.settings)) },
    log,
  });
  log.info({ address: formatAddress(admission.address) }, 'ready');
  await signal;
  await end(async () => admission.close());
}
