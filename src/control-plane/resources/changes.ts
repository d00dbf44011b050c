// What leads from one sidecar's resources to another's, in words that an operator of Envoy knows. Pure.

import type { Resource } from './resource.ts';
import type { Resources } from './resources.ts';

export interface ResourceChanges {
  kind: keyof Resources;
  added: string[];
  removed: string[];
  /** With the places that differ: `virtual_hosts[dashcam].routes`. */
  changed: { name: string; at: string[] }[];
}

const KINDS = ['clusters', 'listeners', 'routes'] as const satisfies (keyof Resources)[];
/** Deeper is for `layby policy dump`. */
const DEPTH = 4;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Lists of things with names are compared by name. */
const byName = (value: unknown): Record<string, unknown> | undefined => {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  if (!value.every((each) => isObject(each) && typeof each.name === 'string')) return undefined;
  return Object.fromEntries(value.map((each: { name: string }) => [`[${each.name}]`, each]));
};

function* differences(before: unknown, after: unknown, path: string, depth: number): Generator<string> {
  if (JSON.stringify(before) === JSON.stringify(after)) return;
  const [was, is] = [byName(before) ?? before, byName(after) ?? after];
  if (depth === 0 || !isObject(was) || !isObject(is)) {
    yield path + (before === undefined ? ' (new)' : after === undefined ? ' (gone)' : '');
    return;
  }
  for (const name of new Set([...Object.keys(was), ...Object.keys(is)])) {
    const at = name.startsWith('[') || !path ? path + name : `${path}.${name}`;
    yield* differences(was[name], is[name], at, depth - 1);
  }
}

/** Kinds without a change are left out. */
export function resourceChanges(before: Resources, after: Resources): ResourceChanges[] {
  return KINDS.flatMap((kind) => {
    const old = new Map(before[kind].map((each) => [each.name, each]));
    const next = new Map(after[kind].map((each) => [each.name, each]));
    const names = (from: Map<string, Resource>, to: Map<string, Resource>) =>
      [...from.keys()].filter((name) => !to.has(name));
    const changed = [...next].flatMap(([name, resource]) => {
      const was = old.get(name);
      const at = was ? [...differences(was, resource, '', DEPTH)] : [];
      return at.length > 0 ? [{ name, at }] : [];
    });
    const added = names(next, old);
    const removed = names(old, next);
    return added.length + removed.length + changed.length > 0 ? [{ kind, added, removed, changed }] : [];
  });
}
