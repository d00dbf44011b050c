// The built-in certificate authority: for a mesh that has no SPIRE and no cert-manager. Its roots and their keys are one file
// below the data directory of the control plane, readable by its owner only. What it issues lives for a day and is renewed
// long before (identities.ts).
//
// Vehicles boot with clocks that are years behind. So a certificate is valid from a day long past on, and only its end counts.

import 'reflect-metadata'; // what @peculiar/x509 is wired with expects it
import { randomUUID, webcrypto } from 'node:crypto';
import { link, mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { replaceFile } from '../policy/replace-file.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';

const FILE = 'authority.json';
const FORMAT = 1;
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
/** Before any Layby, and before any clock that was never set. */
const NOT_BEFORE = new Date('2000-01-01T00:00:00Z');
const ROOT_YEARS = 20;

/** A certificate and its key, PEM. */
export interface Credential {
  id: string;
  certificate: string;
  key: string;
  /** Date.now() */
  expiresAt: number;
}

interface Root {
  /** PEM; the key PKCS #8. */
  certificate: string;
  key: string;
}

interface Saved {
  format: number;
  trustDomain: string;
  roots: Root[];
  /** Index of the root that signs. A newer one is trusted already, and signs after the next rotation. */
  signing: number;
}

const unusable = (path: string, reason: string, cause?: unknown) =>
  new LaybyError(
    'LAYBY_AUTHORITY_UNUSABLE',
    `the certificate authority in ${path} cannot be used: ${reason}`,
    {
      remedy: 'restore the file; or remove it, and give every sidecar of another machine a new certificate',
      cause,
    },
  );

const pem = (key: ArrayBuffer): string => x509.PemConverter.encode(key, 'PRIVATE KEY');

export class Authority {
  readonly #path: string;
  #saved: Saved;

  private constructor(path: string, saved: Saved) {
    this.#path = path;
    this.#saved = saved;
  }

  /** Makes one where there is none. Errors: LAYBY_AUTHORITY_UNUSABLE. */
  static async open(dir: string, trustDomain: string): Promise<Authority> {
    const path = join(dir, FILE);
    const saved = await read(path);
    if (saved && saved.trustDomain !== trustDomain)
      throw unusable(path, `it is for the trust domain ${saved.trustDomain}, not ${trustDomain}`);
    if (saved) return new Authority(path, saved);
    return new Authority(path, await create(path, trustDomain));
  }

  get trustDomain(): string {
    return this.#saved.trustDomain;
  }

  /** All roots that are trusted, PEM. */
  get bundle(): string {
    return this.#saved.roots.map(({ certificate }) => certificate).join('\n');
  }

  /** Another process may have rotated it. Returns whether that was so. Errors: LAYBY_AUTHORITY_UNUSABLE. */
  async reload(): Promise<boolean> {
    const saved = await read(this.#path);
    if (!saved || JSON.stringify(saved) === JSON.stringify(this.#saved)) return false;
    this.#saved = saved;
    return true;
  }

  /** A certificate for one identity, with a key of its own. `life`: ms. */
  async issue(id: string, life: number, now = Date.now()): Promise<Credential> {
    const root = this.#saved.roots[this.#saved.signing]!;
    const issuer = new x509.X509Certificate(root.certificate);
    const signingKey = await importKey(root.key);
    const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
    // Certificates know no milliseconds.
    const notAfter = new Date(Math.floor((now + life) / 1000) * 1000);
    const certificate = await x509.X509CertificateGenerator.create({
      subject: 'O=Layby',
      issuer: issuer.subject,
      notBefore: NOT_BEFORE,
      notAfter,
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([
          x509.ExtendedKeyUsage.serverAuth,
          x509.ExtendedKeyUsage.clientAuth,
        ]),
        new x509.SubjectAlternativeNameExtension([{ type: 'url', value: id }]),
        await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    const key = pem(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
    return { id, certificate: certificate.toString('pem'), key, expiresAt: notAfter.getTime() };
  }

  /** In two steps, or who has a new certificate would meet one who does not trust it yet: the first adds a root that all shall trust,
   *  the second signs with it, and forgets those before the one that signed until then. */
  async rotate(): Promise<'added' | 'signing'> {
    const { roots, signing, trustDomain } = this.#saved;
    if (signing === roots.length - 1) {
      await this.#save({ ...this.#saved, roots: [...roots, await makeRoot(trustDomain)] });
      return 'added';
    }
    await this.#save({ ...this.#saved, roots: roots.slice(signing), signing: 1 });
    return 'signing';
  }

  async #save(saved: Saved): Promise<void> {
    try {
      await replaceFile(this.#path, `${JSON.stringify(saved)}\n`);
    } catch (cause) {
      throw unusable(this.#path, messageOf(cause), cause);
    }
    this.#saved = saved;
  }
}

/** Whoever is first makes it: the control plane and a command may want it at once. */
async function create(path: string, trustDomain: string): Promise<Saved> {
  const saved = { format: FORMAT, trustDomain, roots: [await makeRoot(trustDomain)], signing: 0 };
  const draft = `${path}.${randomUUID()}`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await replaceFile(draft, `${JSON.stringify(saved)}\n`);
    await link(draft, path);
    return saved;
  } catch (cause) {
    const first = (cause as NodeJS.ErrnoException).code === 'EEXIST' ? await read(path) : undefined;
    if (!first) throw unusable(path, messageOf(cause), cause);
    return first;
  } finally {
    await rm(draft, { force: true });
  }
}

async function read(path: string): Promise<Saved | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unusable(path, messageOf(cause), cause);
  }
  let saved: Partial<Saved> | null;
  try {
    saved = JSON.parse(text);
  } catch (cause) {
    throw unusable(path, 'it is not JSON', cause);
  }
  if (saved?.format !== FORMAT) throw unusable(path, 'it was written by another version of Layby');
  const { trustDomain, roots, signing } = saved;
  const whole = typeof trustDomain === 'string' && Array.isArray(roots) && typeof signing === 'number';
  if (!whole || !roots[signing]) throw unusable(path, 'it is not whole');
  try {
    for (const { certificate, key } of roots) {
      new x509.X509Certificate(certificate);
      await importKey(key);
    }
  } catch (cause) {
    throw unusable(path, messageOf(cause), cause);
  }
  return { format: FORMAT, trustDomain, roots, signing };
}

const importKey = (key: string): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(key), ALGORITHM, false, ['sign']);

async function makeRoot(trustDomain: string): Promise<Root> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const notAfter = new Date();
  notAfter.setUTCFullYear(notAfter.getUTCFullYear() + ROOT_YEARS);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `O=Layby, CN=${trustDomain}`,
    notBefore: NOT_BEFORE,
    notAfter,
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const key = pem(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return { certificate: certificate.toString('pem'), key };
}
