// The escape hatch: what the policy says in Envoy's own words, onto what Layby has made.

/** A JSON merge patch, RFC 7396: null takes a field off, a list replaces a list. */
export function merged(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const made: Record<string, unknown> = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete made[name];
    else made[name] = merged(made[name], value);
  }
  return made;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const patched = <Target extends object>(patch: object | undefined, target: Target): Target =>
  patch ? (merged(target, patch) as Target) : target;
