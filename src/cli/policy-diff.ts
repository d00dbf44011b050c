import { type ResourceChanges, resourceChanges } from '../control-plane/resources/changes.ts';
import { resourcesFor } from '../control-plane/resources/resources.ts';
import { assumedSidecar } from '../embedded/assumed.ts';
import { type PolicyChange, policyChanges } from '../policy/changes.ts';
import { strandedBy, strandedText } from '../policy/stranded.ts';
import { ask } from './admin-client.ts';
import { fromFiles, fromMesh, type Source } from './policy-source.ts';

export interface DiffOptions {
  admin: string;
  node: string;
  label: string[];
  json?: boolean;
}

interface NodesChanges {
  /** Those of which the same is true. */
  nodes: string[];
  changes: ResourceChanges[];
}

export async function diff(first: string, second: string | undefined, options: DiffOptions): Promise<void> {
  const { admin, node, label, json } = options;
  const before = second === undefined ? await fromMesh(admin) : await fromFiles([first]);
  const after = await fromFiles([second ?? first]);
  if (before.sidecars.length === 0)
    before.sidecars = [{ node, sidecar: assumedSidecar({ node, labels: label }) }];
  const policy = policyChanges(before.policy, after.policy);
  const sidecars = changesOf(before, after);
  const stranded = second === undefined ? strandedBy(before.policy, after.policy, await storedAt(admin)) : [];
  if (json) {
    const gone = stranded.filter(({ removed }) => removed);
    const waiting = Object.fromEntries(gone.map(({ destination, entries }) => [destination, entries]));
    console.log(JSON.stringify({ policy, sidecars, waiting, stranded }, undefined, 2));
    return;
  }
  console.log(
    [
      ...policyLines(policy),
      ...stranded.map((each) => `warning: ${strandedText(each)}`),
      ...sidecars.flatMap(sidecarLines),
    ].join('\n'),
  );
}

/** Those with the same changes together. */
function changesOf(before: Source, after: Source): NodesChanges[] {
  const groups = new Map<string, NodesChanges>();
  for (const { node, sidecar } of before.sidecars) {
    const changes = resourceChanges(
      resourcesFor(before.policy, sidecar, before.queue),
      resourcesFor(after.policy, sidecar, before.queue),
    );
    const key = JSON.stringify(changes);
    const group = groups.get(key);
    if (group) group.nodes.push(node);
    else groups.set(key, { nodes: [node], changes });
  }
  return [...groups.values()];
}

/** Entries in whatever state, by destination. */
async function storedAt(admin: string): Promise<ReadonlyMap<string, number>> {
  const { destinations } = await ask<{ destinations: { name: string; stored: number }[] }>(
    admin,
    'GET',
    '/v1/status',
  );
  return new Map(destinations.map(({ name, stored }) => [name, stored]));
}

function policyLines(changes: readonly PolicyChange[]): string[] {
  if (changes.length === 0) return ['the policy says the same'];
  return changes.map(({ destination, service, field, before, after }) => {
    const whose = destination ?? (service === undefined ? 'mesh' : `service ${service}`);
    const sign = before === undefined ? '+' : after === undefined ? '-' : '~';
    if (field !== '') return `~ ${whose}: ${field}: ${before ?? '(none)'} → ${after ?? '(none)'}`;
    return `${sign} ${whose}: ${after ?? before}`;
  });
}

function sidecarLines({ nodes, changes }: NodesChanges): string[] {
  const who = nodes.length === 1 ? `sidecar ${nodes[0]}` : `${nodes.length} sidecars (${nodes.join(', ')})`;
  if (changes.length === 0) return ['', `${who}: nothing changes`];
  return [
    '',
    `${who}:`,
    ...changes.flatMap(({ kind, added, removed, changed }) => [
      ...added.map((name) => `  + ${kind}: ${name}`),
      ...removed.map((name) => `  - ${kind}: ${name}`),
      ...changed.map(({ name, at }) => `  ~ ${kind}: ${name}: ${at.join(', ')}`),
    ]),
  ];
}
