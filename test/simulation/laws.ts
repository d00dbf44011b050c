// The laws, checked on what apps were told and what destinations had.

import type { Attempt } from './network.ts';
import type { Outcome } from './vehicle.ts';

/** One request of an app. Times are ms of virtual time. */
export interface Told {
  /** In the order in which apps called; the body begins with it. */
  version: number;
  destination: string;
  /** The resource, without the query. */
  path: string;
  body: Buffer;
  began: number;
  outcome: Outcome | undefined;
  /** Of the entry, where it has a receipt. */
  id?: string | undefined;
  /** When an operator had been told that a dead letter waits again; Infinity: he has not. */
  retriedAt?: number;
  dropped?: boolean;
}

const versionOf = ({ body }: Attempt): number => Number(body?.toString('latin1').split(' ', 1)[0]);

/** `states`: of what is still in the store. Returns what is wrong. */
export function checkLaws(
  told: readonly Told[],
  deliveries: readonly Attempt[],
  states: ReadonlyMap<string, string>,
): string[] {
  const problems: string[] = [];
  const had = new Map<number, Attempt[]>();
  for (const delivery of deliveries) {
    const version = versionOf(delivery);
    had.set(version, [...(had.get(version) ?? []), delivery]);
  }
  for (const { version, id, outcome, dropped, body } of told) {
    for (const attempt of had.get(version) ?? [])
      if (!attempt.body?.equals(body)) problems.push(`law 5: ${version} arrived with another body`);
    const isKnown = outcome?.by === 'destination' && outcome.status === 200;
    if (isKnown && !had.has(version)) problems.push(`law 2: ${version} was answered and never arrived`);
    if (id === undefined || dropped || had.has(version)) continue;
    const state = states.get(id);
    if (state !== 'dead' && state !== 'quarantined')
      problems.push(
        `law 2: ${version} (${id}) has a receipt and is neither delivered nor kept, but ${state}`,
      );
  }
  return [...problems, ...checkOrder(told, had)];
}

/** Law 3: of one order key, what was acknowledged before the next one was begun does not arrive behind it. */
function checkOrder(told: readonly Told[], had: ReadonlyMap<number, Attempt[]>): string[] {
  const problems: string[] = [];
  for (const a of told) {
    const acknowledged = acknowledgedAt(a);
    const last = had.get(a.version)?.at(-1);
    if (acknowledged === undefined || !last) continue;
    for (const b of told) {
      if (b.destination !== a.destination || b.began <= acknowledged || !isOneKey(a, b)) continue;
      const first = had.get(b.version)?.[0];
      if (first && first.ended! < last.ended!)
        problems.push(
          `law 3: ${a.version} of ${a.path} was acknowledged at ${acknowledged.toFixed(1)}, ${b.version} begun at ${b.began.toFixed(1)} and there at ${first.ended!.toFixed(1)}, and ${a.version} came at ${last.ended!.toFixed(1)}`,
        );
    }
  }
  return problems;
}

const isOneKey = (a: Told, b: Told): boolean => a.destination === 'strict' || a.path === b.path;

function acknowledgedAt({ outcome, id, retriedAt }: Told): number | undefined {
  if (retriedAt !== undefined) return retriedAt;
  if (!outcome?.status) return undefined;
  const isDelivered = outcome.by === 'destination' && outcome.status === 200;
  return isDelivered || id !== undefined ? outcome.endedAt : undefined;
}
