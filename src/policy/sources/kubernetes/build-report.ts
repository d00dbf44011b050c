// The report of one control plane, and what of it is worth a write. Bounded: etcd holds the reports of all nodes. Pure.

import { type Verdict, words } from './objects.ts';
import type { ObjectReport, OrphanReport, Report } from './report.ts';
import { heldOf } from './vanished.ts';

/** Of one text, bytes. */
const LONGEST_TEXT = 1024;
/** Of one text in a report that would be too large otherwise, bytes. */
const SHORTEST_TEXT = 128;
/** Of a report as JSON without its metadata, bytes: with them it stays below 256 KiB. */
const LARGEST_CONTENT = 252 * 1024;
/** Of destinations that the policy has no more. */
const MOST_ORPHANS = 200;
const CUT = ' … (cut)';
/** With the largest numbers an object always takes the same room. */
const WIDE = { sidecars: 99_999, programmed: 99_999, entries: 999_999_999, dead: 999_999_999 };

/** What the sidecars have of a destination or service. */
export interface Standing {
  sidecars: number;
  programmed: number;
  /** Which sidecar has refused something of it, and its words. */
  nack?: string;
  /** Why Services of the cluster that it names have no endpoints. */
  unresolved?: string;
}

/** What the queue has stored, as far as the control plane knows. */
export interface Backlog {
  /** By destination. */
  destinations: ReadonlyMap<string, { entries: number; dead: number }>;
  orphans: readonly OrphanReport[];
}

export interface ReportInput {
  version: string;
  /** RFC 3339 */
  now: string;
  verdicts: readonly Verdict[];
  standing: (name: string) => Standing;
  /** Undefined: not known yet. */
  backlog: Backlog | undefined;
  queueAnswers: boolean;
  /** Keys of deletions that are not followed; default: none. */
  held?: readonly string[];
  certificateRequest?: string | undefined;
}

export type ReportContent = Omit<Report, 'metadata' | 'status'>;

/** At most `bytes` of UTF-8, with a mark where something is missing. */
export function cutText(text: string, bytes: number): string {
  if (Buffer.byteLength(text) <= bytes) return text;
  const room = bytes - Buffer.byteLength(CUT);
  // A character that is cut in two decodes to U+FFFD.
  return `${Buffer.from(text)
    .subarray(0, room)
    .toString()
    .replace(/\uFFFD+$/, '')}${CUT}`;
}

const withTexts = (object: ObjectReport, bytes: number): ObjectReport => ({
  ...object,
  ...(object.message !== undefined && { message: cutText(object.message, bytes) }),
  ...(object.nack !== undefined && { nack: cutText(object.nack, bytes) }),
  ...(object.unresolved !== undefined && { unresolved: cutText(object.unresolved, bytes) }),
});

const isBehind = ({ programmed = 0, sidecars = 0 }: ObjectReport): boolean => programmed < sidecars;

const isAiling = (object: ObjectReport): boolean =>
  !object.accepted || object.nack !== undefined || object.unresolved !== undefined;

const sizeOf = (object: ObjectReport): number =>
  Buffer.byteLength(JSON.stringify({ ...object, ...WIDE })) + 1;

/** Those that fit; what is wrong comes first. In the order of `objects`. */
function fitting(objects: readonly ObjectReport[], room: number): ObjectReport[] {
  const total = (each: readonly ObjectReport[]) => each.reduce((sum, object) => sum + sizeOf(object), 0);
  if (total(objects) <= room) return [...objects];
  const short = objects.map((object) => withTexts(object, SHORTEST_TEXT));
  const kept = new Set<ObjectReport>();
  let left = room;
  for (const object of [...short.filter(isAiling), ...short.filter((each) => !isAiling(each))]) {
    left -= sizeOf(object);
    if (left < 0) break;
    kept.add(object);
  }
  return short.filter((object) => kept.has(object));
}

function objectReport({ object, findings }: Verdict, input: ReportInput): ObjectReport {
  const { kind, metadata } = object;
  const { namespace, name, uid, generation } = metadata;
  const accepted = findings.length === 0;
  const { sidecars, programmed, nack, unresolved } = input.standing(name);
  const stored = kind === 'Destination' ? input.backlog?.destinations.get(name) : undefined;
  return withTexts(
    {
      ...{ kind, namespace, name, uid, observedGeneration: generation, accepted },
      ...(!accepted && { message: words(findings) }),
      ...(sidecars > 0 && { sidecars }),
      ...(programmed > 0 && { programmed }),
      ...(nack !== undefined && { nack }),
      ...(unresolved !== undefined && { unresolved }),
      ...(stored && stored.entries > 0 && { entries: stored.entries }),
      ...(stored && stored.dead > 0 && { dead: stored.dead }),
    },
    LONGEST_TEXT,
  );
}

const keyOf = ({ kind, namespace, name }: ObjectReport): string => `${kind} ${namespace}/${name}`;

export function buildReport(input: ReportInput): ReportContent {
  const all = input.verdicts
    .map((verdict) => objectReport(verdict, input))
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const orphaned = (input.backlog?.orphans ?? [])
    .map(({ destination, entries }) => ({ destination: cutText(destination, SHORTEST_TEXT), entries }))
    .sort((a, b) => (a.destination < b.destination ? -1 : 1));
  const orphans = orphaned.slice(0, MOST_ORPHANS);
  const { held = [] } = input;
  const others = {
    version: input.version,
    observedTime: input.now,
    queue: input.queueAnswers,
    ...(orphans.length > 0 && { orphans }),
    ...(held.length > 0 && { held: { count: held.length, kinds: heldOf(held) } }),
    ...(input.certificateRequest !== undefined && { certificateRequest: input.certificateRequest }),
  };
  // The orphans take most of what is beside the objects; their numbers are short.
  const beside =
    orphans.length * (2 * SHORTEST_TEXT + 64) +
    Buffer.byteLength(JSON.stringify(others.held ?? '') + (input.certificateRequest ?? '')) +
    1024;
  const objects = fitting(all, LARGEST_CONTENT - beside);
  const omitted = all.length - objects.length + orphaned.length - orphans.length;
  return { ...others, objects, ...(omitted > 0 && { omitted }) };
}

/** Numbers change with every pod and every call that is stored. Whether all sidecars have an object is none. */
const shapeOf = ({ observedTime: _, objects, orphans = [], ...rest }: ReportContent): string =>
  JSON.stringify([
    rest,
    objects.map(({ sidecars, programmed, entries: _e, dead: _d, ...object }) => [
      object,
      isBehind({ ...object, sidecars, programmed } as ObjectReport),
    ]),
    orphans.map(({ destination }) => destination),
  ]);

export function changeOf(
  before: ReportContent | undefined,
  after: ReportContent,
): 'none' | 'numbers' | 'more' {
  if (!before || shapeOf(before) !== shapeOf(after)) return 'more';
  const { observedTime } = after;
  return JSON.stringify({ ...before, observedTime }) === JSON.stringify(after) ? 'none' : 'numbers';
}

/** At most 128 characters (Kubernetes). */
export const managerOf = (node: string): string => `layby-${node}`.slice(0, 128);
