// What an edited policy says otherwise, field by field. Pure.

import { formatAddress } from '../wire/address.ts';
import type { Destination, Policy, Service } from './policy.ts';

export interface PolicyChange {
  /** Of a destination, of a service, or, without either, of the mesh. */
  destination?: string;
  service?: string;
  /** `store.mode`; '' where the whole destination or service came or went. */
  field: string;
  /** As a person reads it; undefined: it was not there, or is not any more. */
  before?: string;
  after?: string;
}

const UNITS: [RegExp, string][] = [
  [/^(ttl|patience|answerTimeout|connectTimeout|per|time|max)$/, ' ms'],
  [/^(quota|bytes|daily|monthly)$/, ' bytes'],
  [/^rate$/, ' bytes/s'],
];

const shown = (field: string, value: unknown): string => {
  if (typeof value === 'string') return value;
  const last = field.slice(field.lastIndexOf('.') + 1);
  const unit = typeof value === 'number' ? UNITS.find(([names]) => names.test(last))?.[1] : undefined;
  return JSON.stringify(value) + (unit ?? '');
};

const isMapping = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Each value by its path. Lists of plain values are one value: their order may matter. */
function* valuesOf(value: unknown, path: string): Generator<[string, string]> {
  if (isMapping(value)) {
    for (const [name, inner] of Object.entries(value))
      yield* valuesOf(inner, path ? `${path}.${name}` : name);
  } else if (Array.isArray(value) && value.some(isMapping)) {
    for (const [i, inner] of value.entries()) yield* valuesOf(inner, `${path}[${i}]`);
  } else yield [path, shown(path, value)];
}

/** By name, in the order of the names. */
function* changesOf<Named extends { name: string }>(
  before: readonly Named[],
  after: readonly Named[],
  inBrief: (each: Named) => string,
): Generator<{ name: string } & Pick<PolicyChange, 'field' | 'before' | 'after'>> {
  const old = new Map(before.map((each) => [each.name, each]));
  const next = new Map(after.map((each) => [each.name, each]));
  for (const name of [...new Set([...old.keys(), ...next.keys()])].sort()) {
    const was = old.get(name);
    const is = next.get(name);
    if (!was || !is) {
      yield { name, field: '', ...(was && { before: inBrief(was) }), ...(is && { after: inBrief(is) }) };
      continue;
    }
    const values = new Map(valuesOf(was, ''));
    const now = new Map(valuesOf(is, ''));
    for (const field of new Set([...values.keys(), ...now.keys()])) {
      const [from, to] = [values.get(field), now.get(field)];
      if (from === to) continue;
      yield {
        ...{ name, field },
        ...(from !== undefined && { before: from }),
        ...(to !== undefined && { after: to }),
      };
    }
  }
}

const destinationInBrief = ({ hosts, upstream }: Destination): string =>
  `${hosts.join(', ')} → ${upstream.url}`;

const serviceInBrief = ({ hosts, node, address }: Service): string =>
  `${hosts.join(', ')} → ${node} at ${formatAddress(address)}`;

/** The destinations first, then the services, then the mesh. */
export function policyChanges(before: Policy, after: Policy): PolicyChange[] {
  const [was, is] = [before, after].map(({ passthrough = 'deny' }) => passthrough);
  return [
    ...[...changesOf(before.destinations, after.destinations, destinationInBrief)].map(
      ({ name, ...change }) => ({ destination: name, ...change }),
    ),
    ...[...changesOf(before.services ?? [], after.services ?? [], serviceInBrief)].map(
      ({ name, ...change }) => ({ service: name, ...change }),
    ),
    ...(was === is ? [] : [{ field: 'passthrough', before: was!, after: is! }]),
  ];
}
