// The validating webhook of the cluster part: what is wrong with an object beside all others, and whether a change leaves entries behind on any
// vehicle. Such a change is refused, unless the object says that they may be left.

import type { AdmissionRequest, Reviewer } from '../../../admission/server.ts';
import { type Stranded, strandedBy } from '../../stranded.ts';
import type { Aggregator, Waiting } from './aggregator.ts';
import type { PolicyObject } from './objects.ts';
import { names } from './ready.ts';
import { objectOf, policyReviewer } from './review.ts';

export const LEAVE_ENTRIES = 'layby.dev/leave-entries';

const mayLeave = (said: unknown): boolean =>
  (said as { metadata?: { annotations?: Record<string, string> } } | undefined)?.metadata?.annotations?.[
    LEAVE_ENTRIES
  ] === 'true';

/** One line; where it is a warning, kubectl cuts off what is longer than 256 characters. */
const textOf = (
  { destination, entries, removed, hosts, to }: Stranded,
  nodes: readonly Waiting[],
): string => {
  const where = names(nodes.map(({ node, entries }) => ({ node: `${node} (${entries})` })));
  const what = removed
    ? `${destination} is removed`
    : `${hosts.slice(0, 3).join(', ')} ${hosts.length === 1 ? 'goes' : 'go'} to ${to.join(', ')}`;
  return `${entries} ${entries === 1 ? 'entry' : 'entries'} stored for ${destination} on ${where} would be left behind: ${what}`;
};

const remediesOf = ({ destination, to }: Stranded): string =>
  `deliver them first (\`layby drain\`), or give them to another destination there (\`layby queue move --from ${destination} --to ${to.length === 1 ? to[0] : 'NAME'}\`); or leave them, with the annotation ${LEAVE_ENTRIES}: "true"`;

/** For `/validate`. Errors of a review: LAYBY_KUBERNETES_AWAY before the aggregator is synced. */
export const clusterReviewer = (aggregator: Aggregator): Reviewer => {
  const strandedWith = (object: PolicyObject, there: boolean): { text: string; remedy: string }[] => {
    const waiting = aggregator.waiting();
    if (waiting.size === 0) return [];
    const stored = new Map(
      [...waiting].map(([name, nodes]) => [name, nodes.reduce((sum, { entries }) => sum + entries, 0)]),
    );
    const { before, after } = aggregator.policies(object, there);
    return strandedBy(before, after, stored).map((stranded) => ({
      text: textOf(stranded, waiting.get(stranded.destination) ?? []),
      remedy: remediesOf(stranded),
    }));
  };
  const judged = policyReviewer((object) => aggregator.review(object));
  return async (request: AdmissionRequest) => {
    const verdict = await judged(request);
    if (verdict.refused !== undefined) return verdict;
    const said = request.object ?? request.oldObject;
    if (!said) return verdict;
    const stranded = strandedWith(objectOf(request, said), Boolean(request.object));
    if (stranded.length === 0) return verdict;
    if (mayLeave(said)) return { warnings: stranded.map(({ text }) => text) };
    return { refused: stranded.map(({ text, remedy }) => `${text}\n${remedy}`).join('\n') };
  };
};
