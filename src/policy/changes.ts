// What an edited policy says otherwise, field by field. Pure.

import type { Destination, Policy } from './policy.ts';

export interface PolicyChange {
  destination: string;
  /** `store.mode`; '' where the whole destination came or went. */
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

const inBrief = ({ hosts, upstream }: Destination): string => `${hosts.join(', ')} → ${upstream.url}`;

/** By destination, in the order of their names. */
export function policyChanges(before: Policy, after: Policy): PolicyChange[] {
  const changes: PolicyChange[] = [];
  const old = new Map(before.destinations.map((each) => [each.name, each]));
  const next = new Map(after.destinations.map((each) => [each.name, each]));
  for (const name of [...new Set([...old.keys(), ...next.keys()])].sort()) {
    const was = old.get(name);
    const is = next.get(name);
    if (!was || !is) {
      changes.push({
        destination: name,
        field: '',
        ...(was && { before: inBrief(was) }),
        ...(is && { after: inBrief(is) }),
      });
      continue;
    }
    const values = new Map(valuesOf(was, ''));
    const now = new Map(valuesOf(is, ''));
    for (const field of new Set([...values.keys(), ...now.keys()])) {
      const [from, to] = [values.get(field), now.get(field)];
      if (from === to) continue;
      changes.push({
        destination: name,
        field,
        ...(from !== undefined && { before: from }),
        ...(to !== undefined && { after: to }),
      });
    }
  }
  return changes;
}
