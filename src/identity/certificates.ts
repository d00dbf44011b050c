// X.509 certificates as all authorities of Layby make them: EC P-256 keys, and valid since long ago, because vehicles and API servers boot with
// clocks that are years behind. Pure but for the keys that it makes.

import 'reflect-metadata'; // what @peculiar/x509 is wired with expects it
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

export const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
/** Before any Layby, and before any clock that was never set. */
export const NOT_BEFORE = new Date('2000-01-01T00:00:00Z');

/** PEM; the key PKCS #8. */
export interface KeyPair {
  certificate: string;
  key: string;
}

export const newKeys = (): Promise<webcrypto.CryptoKeyPair> =>
  webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);

export const importKey = (key: string): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(key), ALGORITHM, false, ['sign']);

export const keyPem = async (key: webcrypto.CryptoKey): Promise<string> =>
  x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');

/** Certificates know no milliseconds. */
export const endOf = (now: number, life: number): Date => new Date(Math.floor((now + life) / 1000) * 1000);

const authorityExtensions = async (
  publicKey: webcrypto.CryptoKey | x509.PublicKey,
  pathLength: number,
  uri: string | undefined,
): Promise<x509.Extension[]> => [
  new x509.BasicConstraintsExtension(true, pathLength, true),
  new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
  ...(uri === undefined ? [] : [new x509.SubjectAlternativeNameExtension([{ type: 'url', value: uri }])]),
  await x509.SubjectKeyIdentifierExtension.create(publicKey),
];

export interface RootOptions {
  name: string;
  notAfter: Date;
  /** How many authorities may stand between it and a leaf. */
  pathLength: number;
  uri?: string;
}

/** An authority that signs itself. */
export async function makeRootCertificate({
  name,
  notAfter,
  pathLength,
  uri,
}: RootOptions): Promise<KeyPair> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...{ name, notBefore: NOT_BEFORE, notAfter, signingAlgorithm: ALGORITHM, keys },
    extensions: await authorityExtensions(keys.publicKey, pathLength, uri),
  });
  return { certificate: certificate.toString('pem'), key: await keyPem(keys.privateKey) };
}

export interface IntermediateOptions {
  subject: string;
  publicKey: x509.PublicKey;
  notAfter: Date;
  uri: string;
}

/** An authority below another, for leaves only. PEM. */
export async function signAuthority(
  issuer: KeyPair,
  { subject, publicKey, notAfter, uri }: IntermediateOptions,
): Promise<string> {
  const above = new x509.X509Certificate(issuer.certificate);
  const certificate = await x509.X509CertificateGenerator.create({
    ...{ subject, issuer: above.subject, notBefore: NOT_BEFORE, notAfter, publicKey },
    signingAlgorithm: ALGORITHM,
    signingKey: await importKey(issuer.key),
    extensions: [
      ...(await authorityExtensions(publicKey, 0, uri)),
      await x509.AuthorityKeyIdentifierExtension.create(above.publicKey),
    ],
  });
  return certificate.toString('pem');
}

export interface LeafOptions {
  names: x509.JsonGeneralNames;
  usages: x509.ExtendedKeyUsageType[];
  notAfter: Date;
}

/** A certificate of a server or client, with a key of its own. */
export async function issueLeaf(issuer: KeyPair, { names, usages, notAfter }: LeafOptions): Promise<KeyPair> {
  const above = new x509.X509Certificate(issuer.certificate);
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    ...{ subject: 'O=Layby', issuer: above.subject, notBefore: NOT_BEFORE, notAfter },
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: await importKey(issuer.key),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(usages),
      new x509.SubjectAlternativeNameExtension(names),
      await x509.AuthorityKeyIdentifierExtension.create(above.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: certificate.toString('pem'), key: await keyPem(keys.privateKey) };
}

/** What a part of the mesh proves itself with: as a server, and as a client. */
export const issueIdentity = (issuer: KeyPair, id: string, notAfter: Date): Promise<KeyPair> =>
  issueLeaf(issuer, {
    names: [{ type: 'url', value: id }],
    usages: [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth],
    notAfter,
  });
