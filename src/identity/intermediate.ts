// The authority of one edge node, below the roots of the mesh: what the node asks for, and what it is given. The roots and their keys stay with the
// cluster part; a key of the node never leaves it. Pure but for the keys that it makes.

import 'reflect-metadata'; // what @peculiar/x509 is wired with expects it
import { createPrivateKey, type webcrypto, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import type { Saved } from './authority.ts';
import { ALGORITHM, endOf, type KeyPair, keyPem, newKeys, signAuthority } from './certificates.ts';

const DAY_MS = 24 * 3_600_000;
/** A vehicle without its cluster for eight months goes on. */
export const INTERMEDIATE_LIFE_MS = 365 * DAY_MS;
/** Of its life, when it is renewed. */
const RENEWED_AFTER = 1 / 3;
/** Of a request, bytes: one with a P-256 key has some 400. */
const LARGEST_REQUEST = 2048;

const refused = (reason: string, remedy: string): LaybyError =>
  new LaybyError('LAYBY_IDENTITY_REFUSED', `no certificate is signed for the node: ${reason}`, { remedy });

/** A key, and a request (PKCS #10, PEM) that proves that whoever asks has it. */
export async function makeRequest(node: string): Promise<{ key: string; request: string }> {
  const keys = await newKeys();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    // Of the length that X.520 allows; the cluster part takes no name from here.
    name: [{ CN: [node.slice(0, 64)] }],
    keys,
    signingAlgorithm: ALGORITHM,
  });
  return { key: await keyPem(keys.privateKey), request: request.toString('pem') };
}

/** The key of a request that is right. Errors: LAYBY_IDENTITY_REFUSED. */
async function keyOf(request: string): Promise<x509.PublicKey> {
  const remedy = 'remove control-plane/identity/intermediate.json on the node and restart its control plane';
  if (Buffer.byteLength(request) > LARGEST_REQUEST) throw refused('its request is too long', remedy);
  try {
    const asked = new x509.Pkcs10CertificateRequest(request);
    const { name, namedCurve } = asked.publicKey.algorithm as EcKeyAlgorithm;
    if (name !== ALGORITHM.name || namedCurve !== ALGORITHM.namedCurve)
      throw new Error('its key is not EC P-256');
    if (!(await asked.verify())) throw new Error('its request is not signed with its key');
    return asked.publicKey;
  } catch (error) {
    throw refused(messageOf(error), remedy);
  }
}

type EcKeyAlgorithm = webcrypto.EcKeyAlgorithm;

/** The root that signs. Errors: LAYBY_IDENTITY_REFUSED: it was made when none stood below a root. */
function signingRoot({ roots, signing }: Saved): KeyPair {
  const root = roots[signing]!;
  const { pathLength } =
    new x509.X509Certificate(root.certificate).getExtension(x509.BasicConstraintsExtension) ?? {};
  if (pathLength === undefined || pathLength > 0) return root;
  throw refused(
    'the root that signs allows no authority of a node below it (it is of an older version)',
    'rotate it with `layby identity rotate`, twice, as docs/kubernetes.md#roots-of-the-mesh says',
  );
}

export const isIssuedBy = (certificate: string, authority: string): boolean => {
  const [below, above] = [new X509Certificate(certificate), new X509Certificate(authority)];
  return below.checkIssued(above) && below.verify(above.publicKey);
};

const samePublicKey = (certificate: string, key: x509.PublicKey): boolean =>
  Buffer.from(new x509.X509Certificate(certificate).publicKey.rawData).equals(Buffer.from(key.rawData));

export interface SignOptions {
  node: string;
  request: string;
  /** That it has now. */
  certificate: string | undefined;
  authority: Saved;
  /** Of a new one, ms; default: a year. */
  life?: number | undefined;
  now: number;
}

/** The certificate of the node's authority (PEM): the one that it has, while that is good enough. Errors: LAYBY_IDENTITY_REFUSED. */
export async function signIntermediate(options: SignOptions): Promise<string> {
  const { node, request, certificate, authority, life = INTERMEDIATE_LIFE_MS, now } = options;
  const publicKey = await keyOf(request);
  const root = signingRoot(authority);
  if (certificate !== undefined && isGood(certificate)) return certificate;
  return signAuthority(root, {
    subject: `O=Layby, CN=${node.slice(0, 64)}`,
    publicKey,
    notAfter: endOf(now, life),
    uri: `spiffe://${authority.trustDomain}`,
  });

  function isGood(known: string): boolean {
    try {
      const left = Date.parse(new X509Certificate(known).validTo) - now;
      return (
        left > life * (1 - RENEWED_AFTER) &&
        isIssuedBy(known, root.certificate) &&
        samePublicKey(known, publicKey)
      );
    } catch {
      return false; // Somebody has edited it.
    }
  }
}

/** Whether `key` (PKCS #8, PEM) is that of the certificate. */
export const hasKey = (certificate: string, key: string): boolean =>
  new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
