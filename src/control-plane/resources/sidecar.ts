// For whom resources are made.

import type { App } from '../../policy/in-force.ts';
import type { Address } from '../../wire/address.ts';
import type { Discovery } from './config-source.ts';
import type { OwnCertificates } from './secret-source.ts';

/** What a sidecar says of itself in its bootstrap, as node metadata `layby`. */
export interface Sidecar {
  /** Where apps call. */
  outbound?: Address;
  /** Where TLS connections of apps are led to. */
  outboundTls?: Address;
  /** Where the queue sends; only on the sidecar of the edge node. */
  egress?: Address;
  /** Where sidecars of other machines reach the queue, over TLS; only on the sidecar of the edge node. */
  inbound?: Address;
  /** On another machine: where that is, and the SPIFFE id of that sidecar. */
  queue?: { address: Address; id: string };
  /** Who it is, as far as rules of the policy select by it; default: nobody. */
  app?: App;
  /** Where it has its certificates from; default: the control plane. */
  certificates?: OwnCertificates;
  /** Of the SPIFFE ids of the others; default: layby.local. */
  trustDomain?: string;
  /** PEM file with the certificate authorities it trusts for https upstreams. */
  trustedCa: string;
  /** How it asks for what its listeners name: on the one aggregated stream, or from each service apart (state of the world, or
   *  delta). Not said, but seen: as it asked for the listeners. */
  discovery: Discovery;
}
