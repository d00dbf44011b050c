// A certificate as files, for a sidecar on another machine: it must prove itself before it is sent anything. Envoy reads them as SDS
// secrets, and again whenever they are replaced, so a newer certificate disturbs no connection.

import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import { IDENTITY_SECRET, ROOTS_SECRET } from '../wire/names.ts';
import type { Credential } from './authority.ts';

/** What Envoy reads for a secret: one file for each, since it takes no other beside it. */
export const sdsFile = (secret: string): string => `${secret}.json`;

const CERTIFICATE = 'certificate.pem';
const KEY = 'key.pem';
const ROOTS = 'roots.pem';

const SECRET = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';

/** The files, as Envoy finds them in the directory `at` (absolute): the key before the certificate that needs it. `roots`: PEM. */
export function credentialFiles(
  at: string,
  credential: Credential,
  roots: string,
): [name: string, text: string][] {
  const watched_directory = { path: at };
  const file = (name: string) => ({ filename: join(at, name) });
  const sds = (secret: object): string =>
    `${JSON.stringify({ resources: [{ '@type': SECRET, ...secret }] })}\n`;
  return [
    [ROOTS, roots],
    [KEY, credential.key],
    [CERTIFICATE, credential.certificate],
    [
      sdsFile(IDENTITY_SECRET),
      sds({
        name: IDENTITY_SECRET,
        tls_certificate: { certificate_chain: file(CERTIFICATE), private_key: file(KEY), watched_directory },
      }),
    ],
    [
      sdsFile(ROOTS_SECRET),
      sds({ name: ROOTS_SECRET, validation_context: { trusted_ca: file(ROOTS), watched_directory } }),
    ],
  ];
}

/** `roots`: PEM. Each file is replaced whole. Errors: LAYBY_IDENTITY_UNWRITABLE. */
export async function writeCredential(dir: string, credential: Credential, roots: string): Promise<void> {
  const at = resolve(dir);
  const files = credentialFiles(at, credential, roots);
  try {
    await mkdir(at, { recursive: true, mode: 0o700 });
    for (const [name, text] of files) {
      const draft = join(at, `.${name}.new`);
      await writeFile(draft, text, { mode: 0o600 });
      await rename(draft, join(at, name));
    }
  } catch (cause) {
    throw new LaybyError('LAYBY_IDENTITY_UNWRITABLE', `cannot write to ${at}: ${messageOf(cause)}`, {
      remedy: 'choose a directory that you may write with --out DIR',
      cause,
    });
  }
}
