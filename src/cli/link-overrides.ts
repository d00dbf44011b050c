// The manual link overrides in words, for `layby status` and `layby link`.

import type { Overrides } from '../wire/link-memory.ts';

/** `names`: the destinations of the policy. None where there is no override. */
export function overrideLines({ all, byName }: Overrides, names: readonly string[]): string[] {
  const lines: string[] = [];
  if (all !== 'auto')
    lines.push(`link override: ${all} for all destinations, also those that are added later`);
  for (const [name, override] of Object.entries(byName)) {
    const missing = names.includes(name)
      ? ''
      : `, which the policy does not name; \`layby link auto ${name}\` clears it`;
    lines.push(`link override: ${override} for ${name}${missing}`);
  }
  return lines;
}
