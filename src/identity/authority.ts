// The built-in certificate authority: for a mesh that has no SPIRE and no cert-manager. Its roots and their keys are one file
// below the data directory of the control plane, readable by its owner only. What it issues lives for a day and is renewed
// long before (identities.ts).
//
// Vehicles boot with clocks that are years behind. So a certificate is valid from a day long past on, and only its end counts.

import 'reflect-metadata'; // what @peculiar/x509 is wired with expects it
import { randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { X509Certificate } from '@peculiar/x509';
import { replaceFile } from '../policy/replace-file.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import { endOf, importKey, issueIdentity, type KeyPair, makeRootCertificate } from './certificates.ts';

/** In its directory, and in the Secret of a cluster. */
export const AUTHORITY_FILE = 'authority.json';
const FORMAT = 1;
const ROOT_YEARS = 20;

/** A certificate and its key, PEM. */
export interface Credential {
  id: string;
  /** With the authorities between it and a root after it, if there are any. */
  certificate: string;
  key: string;
  /** Date.now() */
  expiresAt: number;
}

/** What issues certificates of this mesh. */
export interface Issuer {
  /** All roots that are trusted, PEM. */
  readonly bundle: string;
  /** Nothing that it issues is good for longer, Date.now(). */
  readonly end?: number | undefined;
  /** Whether what was issued before must be issued again. */
  reload(): Promise<boolean>;
  /** A certificate for one identity, with a key of its own. `life`: ms. */
  issue(id: string, life: number, now?: number): Promise<Credential>;
}

/** What `authority.json` has. */
export interface Saved {
  format: number;
  trustDomain: string;
  roots: KeyPair[];
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

export class Authority implements Issuer {
  readonly #path: string;
  #saved: Saved;

  private constructor(path: string, saved: Saved) {
    this.#path = path;
    this.#saved = saved;
  }

  /** Makes one where there is none. Errors: LAYBY_AUTHORITY_UNUSABLE. */
  static async open(dir: string, trustDomain: string): Promise<Authority> {
    const path = join(dir, AUTHORITY_FILE);
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
    const notAfter = endOf(now, life);
    return { id, ...(await issueIdentity(root, id, notAfter)), expiresAt: notAfter.getTime() };
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

/** With one root. */
export const newAuthority = async (trustDomain: string): Promise<Saved> => ({
  format: FORMAT,
  trustDomain,
  roots: [await makeRoot(trustDomain)],
  signing: 0,
});

/** Whoever is first makes it: the control plane and a command may want it at once. */
async function create(path: string, trustDomain: string): Promise<Saved> {
  const saved = await newAuthority(trustDomain);
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
  return parseAuthority(text, path);
}

/** The text of an `authority.json`. `path`: where it is, for errors. Errors: LAYBY_AUTHORITY_UNUSABLE. */
export async function parseAuthority(text: string, path: string): Promise<Saved> {
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
      new X509Certificate(certificate);
      await importKey(key);
    }
  } catch (cause) {
    throw unusable(path, messageOf(cause), cause);
  }
  return { format: FORMAT, trustDomain, roots, signing };
}

/** One authority may stand below it: that of an edge node. */
function makeRoot(trustDomain: string): Promise<KeyPair> {
  const notAfter = new Date();
  notAfter.setUTCFullYear(notAfter.getUTCFullYear() + ROOT_YEARS);
  return makeRootCertificate({
    ...{ name: `O=Layby, CN=${trustDomain}`, notAfter, pathLength: 1 },
    uri: `spiffe://${trustDomain}`,
  });
}
