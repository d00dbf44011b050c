// What issues certificates on an edge node of a cluster. States: own (a root of its own, as on a machine without a cluster; all on the node trust
// it, so it works without its cluster from the first minute) and signed (an intermediate by a root of the mesh, for good). With the first
// intermediate the keys of roots leave the disk; what was issued by them stays trusted here for the life of that intermediate.

import 'reflect-metadata'; // what @peculiar/x509 is wired with expects it
import { readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { replaceFile } from '../policy/replace-file.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import { AUTHORITY_FILE, Authority, type Credential, type Issuer } from './authority.ts';
import { endOf, importKey, issueIdentity } from './certificates.ts';
import { hasKey, INTERMEDIATE_LIFE_MS, isIssuedBy, makeRequest } from './intermediate.ts';

/** In the directory of the identity. */
export const INTERMEDIATE_FILE = 'intermediate.json';
const FORMAT = 1;

interface Saved {
  format: number;
  trustDomain: string;
  /** PKCS #8, PEM. */
  key: string;
  /** PKCS #10, PEM. */
  request: string;
  /** The intermediate, PEM. */
  certificate?: string;
  /** Of the mesh, PEM. */
  roots: string[];
  /** Roots from before the first intermediate, PEM: trusted until an intermediate that was signed after `formerUntil` comes. */
  former: string[];
  /** By the clock of the cluster part, which the node's own need not agree with, ms. */
  formerUntil?: number;
}

/** What the cluster part has given a node; left out is what it has not. */
export interface SignedIdentity {
  certificate?: string;
  roots?: readonly string[];
}

const unusable = (path: string, reason: string, cause?: unknown) =>
  new LaybyError(
    'LAYBY_AUTHORITY_UNUSABLE',
    `the authority of the node in ${path} cannot be used: ${reason}`,
    {
      remedy:
        'restore the file; or remove it, and the cluster part signs another once the node reaches its cluster',
      cause,
    },
  );

const endOfCertificate = (pem: string): number => new x509.X509Certificate(pem).notAfter.getTime();

const pemsIn = (bundle: string): string[] =>
  bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];

export class NodeAuthority implements Issuer {
  readonly #dir: string;
  #saved: Saved;
  /** Until there is an intermediate. */
  #own: Authority | undefined;
  #changed = false;

  private constructor(dir: string, saved: Saved, own: Authority | undefined) {
    this.#dir = dir;
    this.#saved = saved;
    this.#own = own;
  }

  /** Whether there is one. */
  static has(dir: string): boolean {
    return read(join(dir, INTERMEDIATE_FILE)) !== undefined;
  }

  /** Makes a key and a request where there are none. Errors: LAYBY_AUTHORITY_UNUSABLE. */
  static async open(dir: string, trustDomain: string, node: string): Promise<NodeAuthority> {
    const path = join(dir, INTERMEDIATE_FILE);
    let saved = read(path);
    if (saved && saved.trustDomain !== trustDomain)
      throw unusable(path, `it is for the trust domain ${saved.trustDomain}, not ${trustDomain}`);
    if (!saved) {
      saved = { format: FORMAT, trustDomain, ...(await makeRequest(node)), roots: [], former: [] };
      await write(path, saved);
    }
    await check(path, saved);
    const own = saved.certificate ? undefined : await Authority.open(dir, trustDomain);
    const authority = new NodeAuthority(dir, saved, own);
    if (saved.certificate) await authority.#forgetKeys();
    return authority;
  }

  get request(): string {
    return this.#saved.request;
  }

  get signed(): boolean {
    return this.#saved.certificate !== undefined;
  }

  get bundle(): string {
    const { roots, former } = this.#saved;
    const all = [...roots, ...former, ...(this.#own ? pemsIn(this.#own.bundle) : [])];
    return [...new Set(all.map((pem) => pem.trim()))].join('\n');
  }

  get end(): number | undefined {
    const { certificate } = this.#saved;
    return certificate === undefined ? undefined : endOfCertificate(certificate);
  }

  async reload(): Promise<boolean> {
    const changed = this.#changed;
    this.#changed = false;
    return (await this.#own?.reload()) || changed;
  }

  async issue(id: string, life: number, now = Date.now()): Promise<Credential> {
    const { certificate, key } = this.#saved;
    if (certificate === undefined) return this.#own!.issue(id, life, now);
    const notAfter = new Date(Math.min(endOf(now, life).getTime(), this.end!));
    const leaf = await issueIdentity({ certificate, key }, id, notAfter);
    return {
      id,
      certificate: `${leaf.certificate.trim()}\n${certificate.trim()}\n`,
      key: leaf.key,
      expiresAt: notAfter.getTime(),
    };
  }

  /** What the cluster part says, kept and used from now on. Returns whether it is news. Errors: LAYBY_AUTHORITY_UNUSABLE (the disk),
   *  LAYBY_IDENTITY_REFUSED (it is not for this node, and nothing of it is used). */
  async take({ certificate, roots = [] }: SignedIdentity): Promise<boolean> {
    if (roots.length === 0) return false;
    const before = this.#saved;
    // One for a key that the node had before: it is signed again.
    const given =
      certificate !== undefined && hasKey(certificate, before.key) ? certificate : before.certificate;
    if (given !== undefined && given === certificate) mustBeBelow(given, roots);
    const next = { ...before, roots: [...roots], ...(given !== undefined && { certificate: given }) };
    if (JSON.stringify(next) === JSON.stringify(before)) return false;
    if (given !== undefined && this.#own) {
      // What the mesh drops later, as a root that was copied here, must end here too.
      const known = new Set(roots.map((pem) => pem.trim()));
      next.former = pemsIn(this.#own.bundle).filter((pem) => !known.has(pem.trim()));
      next.formerUntil = endOfCertificate(given);
    } else if (
      given !== undefined &&
      endOfCertificate(given) - INTERMEDIATE_LIFE_MS > (before.formerUntil ?? Number.POSITIVE_INFINITY)
    ) {
      next.former = [];
    }
    await write(join(this.#dir, INTERMEDIATE_FILE), next);
    this.#saved = next;
    this.#changed = true;
    if (given !== undefined) {
      this.#own = undefined;
      await this.#forgetKeys();
    }
    return true;
  }

  async #forgetKeys(): Promise<void> {
    const path = join(this.#dir, AUTHORITY_FILE);
    try {
      await rm(path, { force: true });
      await rm(join(this.#dir, '.new'), { force: true }); // An older chart copied it by this name.
    } catch (cause) {
      throw unusable(path, messageOf(cause), cause);
    }
  }
}

function mustBeBelow(certificate: string, roots: readonly string[]): void {
  const { ca = false } =
    new x509.X509Certificate(certificate).getExtension(x509.BasicConstraintsExtension) ?? {};
  if (ca && roots.some((root) => isIssuedBy(certificate, root))) return;
  throw new LaybyError(
    'LAYBY_IDENTITY_REFUSED',
    'the certificate of the node is by none of the roots beside it',
    {
      remedy: 'see the status of its Report; the cluster part writes it again',
    },
  );
}

async function write(path: string, saved: Saved): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await replaceFile(path, `${JSON.stringify(saved)}\n`);
  } catch (cause) {
    throw unusable(path, messageOf(cause), cause);
  }
}

function read(path: string): Saved | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
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
  const { trustDomain, key, request, roots, former } = saved;
  const whole = [trustDomain, key, request].every((each) => typeof each === 'string');
  if (!whole || !Array.isArray(roots) || !Array.isArray(former)) throw unusable(path, 'it is not whole');
  return saved as Saved;
}

async function check(path: string, { key, certificate, roots, former }: Saved): Promise<void> {
  try {
    await importKey(key);
    for (const each of [...roots, ...former]) new x509.X509Certificate(each);
    if (certificate !== undefined && !hasKey(certificate, key)) throw new Error('its key is another');
  } catch (cause) {
    throw unusable(path, messageOf(cause), cause);
  }
}
