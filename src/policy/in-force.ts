// What is in force for one request: the destination as its rules make it for this method, path and app. Pure, and the only place
// that says so: the sidecar's routes are made of it, the queue and replay judge by it, and `layby policy explain` tells it.

import { createHash } from 'node:crypto';
import { RE2JS } from 're2js';
import type { Apps, Destination, PathMatch, Rule, Upstream } from './policy.ts';

/** What rules look at. */
export interface Asked {
  method: string;
  /** As the app wrote it; a query is not looked at. */
  path: string;
  /** The keys of the selections of apps that its sidecar is in: see `keysOf`. */
  apps?: readonly string[] | undefined;
}

/** A sidecar, as far as rules select by it. */
export interface App {
  node: string;
  /** `name=value` */
  labels: readonly string[];
}

// A policy is never changed once made.
const keys = new WeakMap<Apps, string>();
const compiled = new WeakMap<PathMatch, RE2JS>();
const ruled = new WeakMap<Rule, { of: Destination; made: Destination }>();

/** A selection of apps by its content, short enough for a header. What a sidecar tells the queue, and what an entry keeps: it
 *  means the same wherever the policy is edited elsewhere, and tells nobody who the app is. */
export const appsKey = (apps: Apps): string => {
  let key = keys.get(apps);
  if (key === undefined) {
    const { nodes = [], labels = [] } = apps;
    const content = JSON.stringify([[...nodes].sort(), [...labels].sort()]);
    key = createHash('sha256').update(content).digest('hex').slice(0, 8);
    keys.set(apps, key);
  }
  return key;
};

export const isIn = ({ nodes, labels }: Apps, app: App): boolean =>
  (nodes === undefined || nodes.includes(app.node)) &&
  (labels ?? []).every((label) => app.labels.includes(label));

/** The keys of the selections of the destination's rules that an app is in, sorted. */
export const keysOf = ({ rules = [] }: Destination, app: App): string[] => {
  const chosen = rules.flatMap(({ match: { apps } }) => (apps && isIn(apps, app) ? [appsKey(apps)] : []));
  return [...new Set(chosen)].sort();
};

/** RE2, as Envoy's: a path is matched whole, and in linear time whatever an operator wrote. */
const regexOf = (match: PathMatch & { regex: string }): RE2JS => {
  let regex = compiled.get(match);
  if (!regex) {
    regex = RE2JS.compile(match.regex);
    compiled.set(match, regex);
  }
  return regex;
};

const pathMatches = (match: PathMatch, path: string): boolean => {
  if ('exact' in match) return path === match.exact;
  if ('prefix' in match) return path.startsWith(match.prefix);
  return regexOf(match).matches(path);
};

const matches = ({ match: { path, methods, apps } }: Rule, asked: Asked): boolean =>
  (!methods || methods.includes(asked.method)) &&
  (!apps || (asked.apps ?? []).includes(appsKey(apps))) &&
  (!path || pathMatches(path, asked.path.split('?', 1)[0]!));

/** The destination as this rule of it makes it. What a rule names it replaces whole; of `store` only the fields that it names. */
export const withRule = (destination: Destination, rule: Rule): Destination => {
  const known = ruled.get(rule);
  if (known?.of === destination) return known.made;
  const { store, ...rest } = rule.changes;
  const made: Destination = { ...destination, ...rest, store: { ...destination.store, ...store } };
  ruled.set(rule, { of: destination, made });
  return made;
};

/** The first rule that matches; undefined: none does. */
export const ruleFor = (destination: Destination, asked: Asked): Rule | undefined =>
  destination.rules?.find((rule) => matches(rule, asked));

/** The destination as it is for this request. */
export const inForce = (destination: Destination, asked: Asked): Destination => {
  const rule = ruleFor(destination, asked);
  return rule ? withRule(destination, rule) : destination;
};

/** What can be in force, rule by rule; the last is the destination where no rule matches. */
export const variantsOf = (destination: Destination): Destination[] => [
  ...(destination.rules ?? []).map((rule) => withRule(destination, rule)),
  destination,
];

/** Some of its requests may be stored. */
export const mayStore = (destination: Destination): boolean =>
  variantsOf(destination).some(({ store }) => store.mode !== 'never');

/** The one upstream of this request where its policy has several: the same for each try of it, whatever it costs the others. `id`:
 *  of the request. */
export const towards = (destination: Destination, id: string): Destination => {
  const { split, ...whole } = destination.upstream;
  if (!split) return destination;
  const drawn = (createHash('sha256').update(id).digest().readUInt32BE() / 2 ** 32) * 100;
  let below = 0;
  for (const { percent, to } of split) {
    below += percent;
    if (drawn < below) return { ...destination, upstream: to };
  }
  return { ...destination, upstream: whole };
};

/** What is in force now for a request that was stored, and the one upstream that all of its tries go to. `judgedPath`: where the
 *  path of its URL (`http://host/path?query`) is not the one that the app called. */
export const forEntry = (
  destination: Destination,
  {
    id,
    method,
    url,
    apps,
    judgedPath,
  }: Omit<Asked, 'path'> & { id: string; url: string; judgedPath?: string | undefined },
): Destination => {
  const path = judgedPath ?? url.slice(url.indexOf('/', url.indexOf('//') + 2));
  return towards(inForce(destination, { method, path, apps }), id);
};

/** Every upstream that requests of a destination may go to, each once. */
export const upstreamsOf = (destination: Destination): Upstream[] => {
  const all = new Map<string, Upstream>();
  for (const { upstream } of variantsOf(destination)) {
    const { split = [], ...whole } = upstream;
    for (const each of [whole, ...split.map(({ to }) => to)]) {
      if (!all.has(each.name ?? '')) all.set(each.name ?? '', each);
    }
  }
  return [...all.values()];
};
