// What a cluster says of the endpoints of a Service, and the order in which one node wants them. Pure.

import type { Priorities, Wanted } from '../../cluster-service.ts';
import type { Known } from './reflector.ts';

/** A Service. */
export interface ServiceObject extends Known {
  ports: { name: string; port: number }[];
  /** `internalTrafficPolicy: Local`: no endpoint of another node. */
  local: boolean;
}

/** Some of the endpoints of one (EndpointSlice). */
export interface Slice extends Known {
  service: string;
  family: 'IPv4' | 'IPv6' | 'FQDN';
  /** Of the pods; undefined: any. */
  ports: { name: string; port: number | undefined }[];
  endpoints: Endpoint[];
}

interface Endpoint {
  address: string;
  node: string | undefined;
  /** `going`: it ends, and still answers. */
  state: 'ready' | 'not ready' | 'going' | 'gone';
}

/** Of some cluster, at one moment. */
export interface ClusterView {
  services: readonly ServiceObject[];
  slices: readonly Slice[];
}

interface RawPort {
  name?: string | null;
  port?: number | null;
  protocol?: string | null;
}

interface RawConditions {
  ready?: boolean | null;
  serving?: boolean | null;
  terminating?: boolean | null;
}

interface Raw {
  metadata: Known['metadata'] & { labels?: Record<string, string> };
  spec?: { ports?: RawPort[]; internalTrafficPolicy?: string };
  addressType?: Slice['family'];
  ports?: RawPort[] | null;
  endpoints?: { addresses: string[]; nodeName?: string | null; conditions?: RawConditions }[] | null;
}

const overTcp = (ports: RawPort[] | null | undefined): RawPort[] =>
  (ports ?? []).filter(({ protocol }) => (protocol ?? 'TCP') === 'TCP');

const metadataOf = ({ metadata: { namespace, name, resourceVersion } }: Raw): Known['metadata'] => ({
  namespace,
  name,
  resourceVersion,
});

export function serviceObject(raw: unknown): ServiceObject {
  const { spec } = raw as Raw;
  return {
    metadata: metadataOf(raw as Raw),
    ports: overTcp(spec?.ports).map(({ name, port }) => ({ name: name ?? '', port: port ?? 0 })),
    local: spec?.internalTrafficPolicy === 'Local',
  };
}

export const SERVICE_LABEL = 'kubernetes.io/service-name';

/** What is not said counts as good: the API has it so. */
const stateOf = ({ ready, serving, terminating }: RawConditions = {}): Endpoint['state'] => {
  if (ready ?? true) return 'ready';
  if (!terminating) return 'not ready';
  return (serving ?? false) ? 'going' : 'gone';
};

export function slice(raw: unknown): Slice {
  const { metadata, addressType = 'IPv4', ports, endpoints } = raw as Raw;
  return {
    metadata: metadataOf(raw as Raw),
    service: metadata.labels?.[SERVICE_LABEL] ?? '',
    family: addressType,
    ports: overTcp(ports).map(({ name, port }) => ({ name: name ?? '', port: port ?? undefined })),
    // Several addresses of one are the same to whoever calls.
    endpoints: (endpoints ?? []).flatMap(({ addresses: [address], nodeName, conditions }) =>
      address === undefined ? [] : [{ address, node: nodeName ?? undefined, state: stateOf(conditions) }],
    ),
  };
}

/** What is found, and what is not. */
export interface Found {
  priorities: Priorities;
  /** Why there is none. */
  problem?: string;
}

const nothing = (problem: string): Found => ({ priorities: [], problem });

/** Each once, in the best of the states that it is said to have: while they move from one slice to another, both name them. */
const better = (one: Endpoint, other: Endpoint | undefined): Endpoint =>
  other && (one.state !== 'ready' || other.state === 'ready') ? other : one;

/** For who is on `node`: what is ready there, then elsewhere; and last what is not ready, since a cluster that has lost sight of a node says
 *  so of all there, and the alternative is an error. */
export function find(
  { services, slices }: ClusterView,
  { namespace, name, port, of }: Wanted,
  node: string,
): Found {
  const service = services.find(({ metadata }) => metadata.namespace === namespace && metadata.name === name);
  if (!service) return nothing(`there is no Service ${namespace}/${name}`);
  const portName = service.ports.find((each) => each.port === port)?.name;
  if (of === 'service' && portName === undefined) {
    const ports = service.ports.map((each) => each.port).join(', ');
    return nothing(
      `the Service ${namespace}/${name} has no port ${port} over TCP; it has ${ports || 'none'}`,
    );
  }
  const own = slices.filter(({ metadata, service: its }) => metadata.namespace === namespace && its === name);
  const of4 = own.filter(({ family }) => family === 'IPv4');
  const chosen = of4.some(({ endpoints }) => endpoints.length > 0)
    ? of4
    : own.filter(({ family }) => family === 'IPv6');
  const all = new Map<string, Endpoint & { port: number }>();
  for (const { ports, endpoints } of chosen) {
    const known = ports.find((each) => each.name === portName);
    if (of === 'service' && !known) continue;
    const at = of === 'pods' ? port : (known?.port ?? port);
    for (const endpoint of endpoints) {
      if (service.local && endpoint.node !== node) continue;
      all.set(endpoint.address, { ...better(endpoint, all.get(endpoint.address)), port: at });
    }
  }
  const sorted = [...all.values()].sort((a, b) => (a.address < b.address ? -1 : 1));
  const isHere = (endpoint: Endpoint) => endpoint.node === node;
  const ready = sorted.filter(({ state }) => state === 'ready');
  const last = sorted.filter(({ state }) => state === 'not ready' || state === 'going');
  const lists = [
    ready.filter(isHere),
    ready.filter((each) => !isHere(each)),
    last.filter(isHere),
    last.filter((each) => !isHere(each)),
  ];
  const priorities = lists
    .filter((list) => list.length > 0)
    .map((list) => list.map((each) => ({ host: each.address, port: each.port })));
  if (ready.length > 0) return { priorities };
  const where = service.local ? ` on ${node}, and it wants no other (internalTrafficPolicy: Local)` : '';
  return { priorities, problem: `the Service ${namespace}/${name} has no endpoint that is ready${where}` };
}
