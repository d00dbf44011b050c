// Whether the policy lets an entry go over the link that is there. Pure: policy, link and what was used go in; words that forbid come out.

import type { Destination, LinkKind } from '../policy/policy.ts';
import type { Usage } from './budget.ts';

/** What kind of link the way out is; kind undefined: nobody knows. */
export interface LinkNature {
  /** Nobody has told the kind yet, which is not the same as that it cannot be known. */
  unknown?: boolean;
  kind: LinkKind | undefined;
  interface: string;
  metered: boolean;
  roaming: boolean;
}

/** Over a link whose kind cannot be known everything may go: a rule that can never be checked must not stop all. Before the kind is
 *  told, what has such rules waits. undefined: it may go. `bytes`: of the entry. */
export function forbidden(
  { name, replay }: Destination,
  link: LinkNature,
  used: Usage,
  bytes: number,
): string | undefined {
  const { kind } = link;
  if (link.unknown && dependsOnKind(replay))
    return `the kind of link is not known yet, and replay of ${name} has rules for it: the control plane has not reported it`;
  if (kind === undefined) return undefined;
  const what = `the link (${kind}${link.interface && ` ${link.interface}`})`;
  const { links, metered, roaming, budget } = replay;
  if (links && !links.includes(kind))
    return `${what} is none that replay of ${name} may use: replay.links is ${links.join(', ')}`;
  if (link.metered && metered === 'deny') return `${what} is metered, and replay.metered of ${name} is deny`;
  if (link.roaming && roaming === 'deny') return `${what} is roaming, and replay.roaming of ${name} is deny`;
  const limits = budget?.[kind];
  for (const [period, limit, sum] of [
    ['daily', limits?.daily, used.day],
    ['monthly', limits?.monthly, used.month],
  ] as const) {
    if (limit === undefined || sum + bytes <= limit) continue;
    const left = Math.max(0, limit - sum);
    return `the ${period} budget of ${name} for ${kind} has ${left} of ${limit} bytes left, and the entry has ${bytes}`;
  }
  return undefined;
}

const dependsOnKind = ({ links, linkRates, metered, roaming, budget }: Destination['replay']): boolean =>
  metered === 'deny' || roaming === 'deny' || [links, linkRates, budget].some((rule) => rule !== undefined);
