// What a client says of itself on the first message of a stream.

import { checkTrustDomain } from '../../identity/spiffe.ts';
import { LaybyError } from '../../telemetry/error.ts';
import { parseAddress } from '../../wire/address.ts';
import type { Discovery } from '../resources/config-source.ts';
import type { Sidecar } from '../resources/sidecar.ts';
import { plainStruct } from '../xds/struct.ts';
import type { Node } from './transport.ts';

interface LaybyMetadata {
  layby?: {
    outbound?: string;
    outboundTls?: string;
    egress?: string;
    inbound?: string;
    queue?: string;
    queueId?: string;
    trustDomain?: string;
    /** `spire`, or a directory. */
    certificates?: string;
    trustedCa?: string;
    labels?: Record<string, unknown>;
  };
}

/** What a sidecar says of itself in its node metadata. Errors: LAYBY_ADDRESS_INVALID. */
export function sidecarOf(node: Node, discovery: Discovery): Sidecar {
  const said = (plainStruct(node.metadata) as LaybyMetadata).layby ?? {};
  const { outbound, outboundTls, egress, inbound, queue, queueId } = said;
  const { trustDomain, certificates, trustedCa, labels } = said;
  return {
    ...(outbound ? { outbound: parseAddress(outbound, 'outbound of the sidecar') } : {}),
    ...(outboundTls ? { outboundTls: parseAddress(outboundTls, 'outboundTls of the sidecar') } : {}),
    ...(egress ? { egress: parseAddress(egress, 'egress of the sidecar') } : {}),
    ...(inbound ? { inbound: parseAddress(inbound, 'inbound of the sidecar') } : {}),
    ...(queue && queueId
      ? { queue: { address: parseAddress(queue, 'queue of the sidecar'), id: queueId } }
      : {}),
    app: {
      node: node.id ?? '',
      labels: Object.entries(labels ?? {})
        .map(([name, value]) => `${name}=${value}`)
        .sort(),
    },
    ...(trustDomain ? { trustDomain: checkTrustDomain(trustDomain) } : {}),
    ...(certificates ? { certificates: certificates === 'spire' ? 'spire' : { dir: certificates } } : {}),
    trustedCa: trustedCa ?? '/etc/ssl/certs/ca-certificates.crt',
    discovery,
  };
}

/** What is kept of a node: Envoy's also lists every extension that it has, some hundred kilobytes of objects.
 *  Errors: LAYBY_REQUEST_INVALID. */
export function keptNode(node: Node | null | undefined): Node {
  if (!node?.id) {
    throw new LaybyError('LAYBY_REQUEST_INVALID', 'the first message of a stream has no node id', {
      remedy: 'set node.id in the bootstrap of the sidecar (envoy --service-node)',
    });
  }
  const { id, cluster, metadata } = node;
  return { id, ...(cluster ? { cluster } : {}), metadata };
}
