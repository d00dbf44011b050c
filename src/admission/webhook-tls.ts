// The certificates of admission webhooks: an authority of their own, and a server certificate by it. Pure but for the keys that it makes.
//
// A change keeps trust in one step after another. A new authority is only added to the bundle; the server certificate that is in use stays
// until its own renewal, when every API server has long had the bundle. An authority leaves the bundle at its end.

import 'reflect-metadata'; // what @peculiar/x509 is wired with expects it
import { createPrivateKey, randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
/** An API server whose clock was never set trusts them too. */
const NOT_BEFORE = new Date('2000-01-01T00:00:00Z');
const DAY_MS = 24 * 60 * 60 * 1000;
export const SERVER_LIFE_MS = 90 * DAY_MS;
export const AUTHORITY_LIFE_MS = 3653 * DAY_MS;
/** What is left of a life when it is renewed. */
const LAST_PART = 1 / 3;

/** All PEM; keys PKCS #8. */
export interface WebhookTls {
  /** Authorities that the API server trusts; the last one signs. */
  bundle: string;
  /** Of the last one. */
  authorityKey: string;
  certificate: string;
  key: string;
}

interface Pair {
  certificate: string;
  key: string;
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const pemsIn = (text: string): string[] => text.match(CERTIFICATE) ?? [];
const bundleOf = (pems: readonly string[]): string => `${pems.join('\n')}\n`;

const importKey = (key: string): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(key), ALGORITHM, false, ['sign']);

const newKeys = () => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);

const pemOf = async (key: webcrypto.CryptoKey): Promise<string> =>
  x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');

/** Certificates know no milliseconds. */
const endOf = (now: number, life: number): Date => new Date(Math.floor((now + life) / 1000) * 1000);

async function makeAuthority(now: number): Promise<Pair> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    // Two authorities in one bundle need two names.
    name: `O=Layby, CN=webhooks ${randomBytes(4).toString('hex')}`,
    notBefore: NOT_BEFORE,
    notAfter: endOf(now, AUTHORITY_LIFE_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: certificate.toString('pem'), key: await pemOf(keys.privateKey) };
}

async function issue(authority: Pair, hosts: readonly string[], now: number): Promise<Pair> {
  const issuer = new x509.X509Certificate(authority.certificate);
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    subject: 'O=Layby',
    issuer: issuer.subject,
    notBefore: NOT_BEFORE,
    notAfter: endOf(now, SERVER_LIFE_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: await importKey(authority.key),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        hosts.map((value) => ({ type: isIP(value) ? ('ip' as const) : ('dns' as const), value })),
      ),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: certificate.toString('pem'), key: await pemOf(keys.privateKey) };
}

const leftOf = (certificate: string, now: number): number =>
  Date.parse(new X509Certificate(certificate).validTo) - now;

const isPair = (certificate: string, key: string): boolean =>
  new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));

/** Whether it is whole: somebody may have edited it. */
function isUsable({ bundle, authorityKey, certificate, key }: WebhookTls): boolean {
  try {
    const authority = pemsIn(bundle).at(-1);
    return authority !== undefined && isPair(authority, authorityKey) && isPair(certificate, key);
  } catch {
    return false;
  }
}

function serves({ bundle, certificate }: WebhookTls, hosts: readonly string[], now: number): boolean {
  const server = new X509Certificate(certificate);
  const trusted = pemsIn(bundle).some((pem) => {
    const authority = new X509Certificate(pem);
    return leftOf(pem, now) > 0 && server.checkIssued(authority) && server.verify(authority.publicKey);
  });
  const named = hosts.every((host) => (isIP(host) ? server.checkIP(host) : server.checkHost(host)));
  return trusted && named && leftOf(certificate, now) > 0;
}

/** What takes the place of `known` now; undefined: nothing. One step each time. `now`: ms. */
export async function renewWebhookTls(
  known: WebhookTls | undefined,
  hosts: readonly string[],
  now: number,
): Promise<WebhookTls | undefined> {
  if (!known || !isUsable(known)) {
    const authority = await makeAuthority(now);
    const server = await issue(authority, hosts, now);
    return { bundle: bundleOf([authority.certificate]), authorityKey: authority.key, ...server };
  }
  const pems = pemsIn(known.bundle);
  const signing = { certificate: pems.at(-1)!, key: known.authorityKey };
  if (leftOf(signing.certificate, now) < AUTHORITY_LIFE_MS * LAST_PART) {
    const added = await makeAuthority(now);
    const bundle = bundleOf([...pems.filter((pem) => leftOf(pem, now) > 0), added.certificate]);
    const next = { ...known, bundle, authorityKey: added.key };
    return serves(next, hosts, now) ? next : { ...next, ...(await issue(added, hosts, now)) };
  }
  const renews = leftOf(known.certificate, now) < SERVER_LIFE_MS * LAST_PART;
  if (renews || !serves(known, hosts, now)) return { ...known, ...(await issue(signing, hosts, now)) };
  const trusted = pems.filter((pem) => leftOf(pem, now) > 0);
  return trusted.length < pems.length ? { ...known, bundle: bundleOf(trusted) } : undefined;
}
