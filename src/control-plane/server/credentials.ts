// What the control plane proves itself with to sidecars on other machines, and whom it lets in: the built-in authority, or files that
// somebody else renews. In either case a client without a certificate is not let in.

import * as grpc from '@grpc/grpc-js';
import type { Identities } from '../../identity/identities.ts';
import { partId } from '../../identity/spiffe.ts';

const { experimental } = grpc;
type Provider = Parameters<typeof experimental.createCertificateProviderServerCredentials>[0];
type CaListener = Parameters<Provider['addCaCertificateListener']>[0];
type IdentityListener = Parameters<Provider['addIdentityCertificateListener']>[0];

/** Three PEM files. */
export interface TlsFiles {
  certificate: string;
  key: string;
  roots: string;
}

/** ms */
const FILES_LOOK = 10_000;

/** The newest certificate, to all who listen. */
class Issued implements Provider {
  readonly #cas = new Set<CaListener>();
  readonly #identities = new Set<IdentityListener>();
  #ca: Parameters<CaListener>[0] = null;
  #identity: Parameters<IdentityListener>[0] = null;

  constructor(identities: Identities) {
    identities.use(partId(identities.trustDomain, 'control-plane'), ({ certificate, key }, roots) => {
      this.#ca = { caCertificate: Buffer.from(roots) };
      this.#identity = { certificate: Buffer.from(certificate), privateKey: Buffer.from(key) };
      for (const tell of this.#cas) tell(this.#ca);
      for (const tell of this.#identities) tell(this.#identity);
    });
  }

  addCaCertificateListener(listener: CaListener): void {
    this.#cas.add(listener);
    if (this.#ca) listener(this.#ca);
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#cas.delete(listener);
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#identities.add(listener);
    if (this.#identity) listener(this.#identity);
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#identities.delete(listener);
  }
}

const mutual = (provider: Provider): grpc.ServerCredentials =>
  experimental.createCertificateProviderServerCredentials(provider, provider, true);

export const issuedCredentials = (identities: Identities): grpc.ServerCredentials =>
  mutual(new Issued(identities));

/** The files may be replaced at any time. */
export const fileCredentials = ({ certificate, key, roots }: TlsFiles): grpc.ServerCredentials =>
  mutual(
    new experimental.FileWatcherCertificateProvider({
      certificateFile: certificate,
      privateKeyFile: key,
      caCertificateFile: roots,
      refreshIntervalMs: FILES_LOOK,
    }),
  );
