import { Command } from 'commander';
import type { OrphanedView } from '../control-plane/orphaned.ts';
import { inWords, type Network } from '../link/network.ts';
import { type ErrorView, LaybyError } from '../telemetry/error.ts';
import { oneLine } from '../telemetry/one-line.ts';
import type { RefusedView } from '../wire/edge-service.ts';
import type { Overrides } from '../wire/link-memory.ts';
import { adminOption, ask } from './admin-client.ts';
import { overrideLines } from './link-overrides.ts';
import { table } from './table.ts';

interface SidecarView {
  id: string;
  upToDate: boolean;
  types: Record<
    string,
    {
      nack?: { version: string; message: string };
      waiting: boolean;
      sentAt?: string;
      heldBack: { what: string; since: string; why: string }[];
    }
  >;
}

interface StatusView {
  link: string;
  network: Network | null;
  policy: { problem: ErrorView | null };
  overrides: Overrides;
  queue: { answers: boolean; reported: boolean; problem?: string | null };
  setAside: { copies: number; bytes: number } | null;
  destinations: {
    name: string;
    state: string;
    entries: number;
    bytes: number;
    dead: number;
    oldest: string | null;
    why: string;
    refused?: RefusedView | null;
    link: { state: string; by: string; sources: { source: string; says: string; since: number }[] };
  }[];
  orphaned: OrphanedView[];
  unresolved: { name: string; why: string }[];
  sidecars: SidecarView[];
}

export const statusCommand = () =>
  new Command('status')
    .description('what is stored, what is held and why, and what the sidecars have')
    .option('--json', 'for programs')
    .addOption(adminOption())
    .action(async ({ admin, json }: { admin: string; json?: boolean }) => {
      const status = await ask<StatusView>(admin, 'GET', '/v1/status');
      if (json) {
        console.log(JSON.stringify(status, undefined, 2));
        return;
      }
      console.log(`link ${status.link}${queueText(status.queue)}`);
      if (status.queue.problem) console.log(oneLine(status.queue.problem));
      const names = status.destinations.map(({ name }) => name);
      for (const line of overrideLines(status.overrides, names)) console.log(line);
      if (status.network) console.log(`over ${inWords(status.network)} (${status.network.by})`);
      if (status.policy.problem) console.log(problemText(status.policy.problem));
      console.log(
        table(
          ['DESTINATION', 'STATE', 'ENTRIES', 'BYTES', 'DEAD', 'OLDEST', 'WHY'],
          [
            ...status.destinations,
            ...status.orphaned.map((orphaned) => ({
              ...orphaned,
              ...{ state: 'orphaned', why: `not in the policy: ${moveCommand(orphaned)}` },
            })),
          ].map(({ name, state, entries, bytes, dead, oldest, why }) => [
            name,
            state,
            String(entries),
            String(bytes),
            String(dead),
            oldest ?? '-',
            why,
          ]),
        ),
      );
      for (const { name, link } of status.destinations) {
        const said = link.sources.map(
          ({ source, says, since }) => `${source} ${says} since ${new Date(since).toISOString()}`,
        );
        console.log(
          `link to ${name}: ${link.state} by ${link.by}${said.length > 0 ? ` (${said.join(', ')})` : ''}`,
        );
      }
      for (const { name, refused } of status.destinations)
        for (const text of refusedLines(name, refused)) console.log(text);
      for (const orphaned of status.orphaned) console.log(orphanedText(orphaned));
      for (const { name, why } of status.unresolved) console.log(`${name}: ${why}`);
      const { copies, bytes } = status.setAside ?? { copies: 0, bytes: 0 };
      if (copies > 0)
        console.log(`set aside as damaged: ${copies}, ${bytes} bytes; \`layby store check\` says why`);
      for (const sidecar of status.sidecars) {
        console.log(`sidecar ${sidecar.id}: ${sidecar.upToDate ? 'up to date' : 'behind'}`);
        for (const line of whyBehind(sidecar)) console.log(`  ${line}`);
      }
    });

function refusedLines(name: string, refused: RefusedView | null | undefined): string[] {
  if (!refused) return [];
  const { entries, oldest } = refused;
  const more = entries - oldest.length;
  return [
    ...oldest.map(
      ({ id, request, tries, since, lastError }) =>
        `refused by ${name}: ${id} ${request}, ${tries} tries${since === null ? '' : `, while it takes others, since ${since}`}, the last with: ${oneLine(lastError ?? '')}`,
    ),
    ...(more > 0 ? [`refused by ${name}: ${more} more, see \`layby queue ls\``] : []),
    `  to do: \`layby why ID\` says what follows and when; \`layby queue edit\` or \`layby queue drop\` settles one now`,
  ];
}

const queueText = ({ answers, reported }: StatusView['queue']): string =>
  `${answers ? '' : ', the queue does not answer'}${reported ? '' : ', the queue has not reported yet'}`;
function orphanedText({ name, entries, bytes, oldest, servedBy, ...states }: StatusView['orphaned'][number]) {
  const { dead, staged, quarantined } = states;
  const parts = [
    `${entries} ${entries === 1 ? 'entry' : 'entries'}`,
    ...Object.entries({ dead, staged, quarantined }).flatMap(([state, count]) =>
      count > 0 ? [`${count} of them ${state}`] : [],
    ),
    `${bytes} bytes wait`,
    ...(oldest === null ? [] : [`the oldest since ${oldest}`]),
  ];
  return [
    `orphaned: the policy names no destination ${name}, its entries are kept and not sent: ${parts.join(', ')}`,
    `  to do: ${moveCommand({ name, servedBy })}, or layby queue drop --destination ${name}`,
  ].join('\n');
}

/** To where its hosts are served now, as far as that is known. */
const moveCommand = ({ name, servedBy }: Pick<OrphanedView, 'name' | 'servedBy'>): string =>
  `layby queue move --from ${name} --to ${servedBy.join('|') || 'NAME'}`;

const problemText = (problem: ErrorView): string =>
  problem.code === 'LAYBY_POLICY_INVALID'
    ? `policy refused; what was in force before is in force:\n${problem.message}`
    : `policy: ${new LaybyError(problem.code, problem.message, problem).line}`;

/** What it refused, what it has not answered, what is not sent yet. */
function whyBehind({ types }: SidecarView): string[] {
  return Object.entries(types).flatMap(([type, { nack, waiting, sentAt, heldBack }]) => [
    ...(nack ? [`${type}: refused version ${nack.version}: ${nack.message}`] : []),
    ...(waiting ? [`${type}: not answered since ${sentAt}`] : []),
    ...heldBack.map(({ what, since, why }) => `${type}: ${what} wait for ${why}, since ${since}`),
  ]);
}
