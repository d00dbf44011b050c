// A certificate for 127.0.0.1, localhost and other addresses that is its own authority, for servers of tests.

import 'reflect-metadata'; // what @peculiar/x509 is wired with expects it
import { webcrypto } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 24 * 60 * 60 * 1000;

/** Writes tls.crt and tls.key into `dir`. Returns the certificate, PEM. `addresses`: more that it is for. */
export async function writeCertificate(dir: string, ...addresses: string[]): Promise<string> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=rig',
    keys,
    signingAlgorithm: ALGORITHM,
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + DAY_MS),
    extensions: [
      new x509.SubjectAlternativeNameExtension([
        ...['127.0.0.1', ...addresses].map((value) => ({ type: 'ip' as const, value })),
        { type: 'dns', value: 'localhost' },
      ]),
      new x509.BasicConstraintsExtension(true, undefined, true),
    ],
  });
  const key = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  const text = certificate.toString('pem');
  await writeFile(join(dir, 'tls.crt'), text);
  await writeFile(join(dir, 'tls.key'), x509.PemConverter.encode(key, 'PRIVATE KEY'));
  return text;
}
