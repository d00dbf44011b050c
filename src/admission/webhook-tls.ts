// The certificates of admission webhooks: an authority of their own, and a server certificate by it. Pure but for the keys that it makes.
//
// A change keeps trust in one step after another. A new authority is only added to the bundle; the server certificate that is in use stays
// until its own renewal, when every API server has long had the bundle. An authority leaves the bundle at its end.

import 'reflect-metadata'; // what @peculiar/x509 is wired with expects it
import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { ExtendedKeyUsage } from '@peculiar/x509';
import { endOf, issueLeaf, type KeyPair, makeRootCertificate } from '../identity/certificates.ts';

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

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const pemsIn = (text: string): string[] => text.match(CERTIFICATE) ?? [];
const bundleOf = (pems: readonly string[]): string => `${pems.join('\n')}\n`;

const makeAuthority = (now: number): Promise<KeyPair> =>
  makeRootCertificate({
    // Two authorities in one bundle need two names.
    name: `O=Layby, CN=webhooks ${randomBytes(4).toString('hex')}`,
    notAfter: endOf(now, AUTHORITY_LIFE_MS),
    pathLength: 0,
  });

const issue = (authority: KeyPair, hosts: readonly string[], now: number): Promise<KeyPair> =>
  issueLeaf(authority, {
    names: hosts.map((value) => ({ type: isIP(value) ? ('ip' as const) : ('dns' as const), value })),
    usages: [ExtendedKeyUsage.serverAuth],
    notAfter: endOf(now, SERVER_LIFE_MS),
  });

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
