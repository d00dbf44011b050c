// Why an entry is not delivered yet, in plain words. Pure: what the store, replay and the clock know goes in, lines come out, the
// one that decides first. It explains and decides nothing; where replay learns a new reason to wait, it gets a line here.

import type { Entry, StoreEvent, Stuck } from '../store/store.ts';
import { oneLine } from '../telemetry/one-line.ts';
import { giveUpIn, isStuck } from './give-up.ts';

/** What the control plane says of a link: up, slow or down, who says so, and since when (wall clock, ms; 0: not known). */
export interface LinkWord {
  up: boolean;
  /** It works badly, or flaps: one entry at a time. */
  slow?: boolean;
  by: string;
  since: number;
}

/** What replay knows of the lane of an entry, and of its place there. Times are ms from now. */
export interface LaneView {
  link: LinkWord;
  /** While the link is said to be down one entry is tried now and then: the next time. */
  probeIn: number;
  /** All of the destination pauses: how long, after what, and how many tries in a row have failed for want of a link. */
  pause: { ms: number; after: string; failures: number };
  underWay: number;
  /** How many may be under way now. */
  concurrency: number;
  /** How long an entry may be refused while others are taken, ms. */
  giveUpAfter: number;
  /** bytes per second. */
  rate?: number;
  /** Of the link, for all destinations together, bytes per second. */
  linkRate?: number;
  /** Why it may not go over this link, or not before something that passes the store by, in words. */
  forbidden?: string;
  /** undefined: older ones fill the part of the lane that is looked at. `olderId`: the first with the same order key; `retryIn`: of an entry
   *  that was refused, while the destination refuses so much that a single one is tried at a time, ms. */
  place?: { pauseMs: number; olderId?: string; retryIn?: number };
}

export interface WhyState {
  id: string;
  /** Wall clock, ms. */
  now: number;
  /** undefined: it is not in the store. */
  entry?: Entry;
  /** The last line of its audit trail. */
  last?: StoreEvent;
  /** undefined: the policy names no such destination (`orphaned`), or replay has not begun. */
  lane?: LaneView;
  /** The one that `lane.place.olderId` names. */
  older?: Entry;
  /** The oldest entry that waits in the lane. */
  oldest?: { id: string; seq: number };
  /** Where the policy names no such destination: which one serves the host of the entry now, if any. */
  orphaned?: { servedBy?: string };
  /** An older entry of the same resource that waits for another destination. */
  elsewhere?: { id: string; destination: string };
}

/** At least one line. */
export const why = (state: WhyState): string[] =>
  linesOf(state).map((line) => oneLine(line, Number.POSITIVE_INFINITY));

function linesOf(state: WhyState): string[] {
  const { entry, lane } = state;
  if (!entry) return [gone(state)];
  switch (entry.state) {
    case 'dead':
      return [
        `it is a dead letter${since(state.last)}: ${entry.destination} refused it for good (${entry.reason ?? 'no reason is known'})`,
        `to do: \`layby queue show ${entry.id}\` has the answer; correct it with \`layby queue edit\`, send it again with \`layby queue retry\`, or let it go with \`layby queue drop\``,
      ];
    case 'quarantined':
      return [
        `it is damaged on the disk and never sent: ${entry.reason ?? 'no reason is known'}`,
        `to do: \`layby store check\` looks at all of the store; \`layby queue drop ${entry.id}\` lets it go`,
      ];
    case 'staged':
      return ['it is a part of an upload that its app has not completed: it goes with the whole of it'];
    case 'sending':
      return [
        `try ${entry.attempts + 1} is under way${lane?.rate === undefined ? '' : `, at ${rate(lane.rate)} for all of ${entry.destination} at most`}${lane?.linkRate === undefined ? '' : `, at ${rate(lane.linkRate)} for all that goes over the link`}`,
      ];
    case 'stored':
      if (lane) return waiting(state, entry, lane);
      return state.orphaned === undefined
        ? [...behindOthers(state, entry), 'nothing is sent yet: the queue has just started']
        : orphanedLines(entry, state.orphaned);
  }
}

function behindOthers({ elsewhere }: WhyState, { destination }: Entry): string[] {
  if (!elsewhere) return [];
  const { id, destination: from } = elsewhere;
  return [
    `${id} is older and goes first; it is stored for ${from}, which had this host before: \`layby queue move --from ${from} --to ${destination}\``,
  ];
}

function orphanedLines({ id, destination }: Entry, { servedBy }: { servedBy?: string }): string[] {
  return [
    `the policy in force names no destination ${destination}: it is kept, and not sent`,
    servedBy === undefined
      ? `to do: bring ${destination} back; or name its host in another destination, and move it there with \`layby queue move ${id} --to NAME\`; or let it go with \`layby queue drop ${id}\``
      : `to do: ${servedBy} serves its host now: \`layby queue move --from ${destination} --to ${servedBy}\` gives it what is stored; or let it go with \`layby queue drop ${id}\``,
  ];
}

function gone({ id, last }: WhyState): string {
  if (!last)
    return `${id} was never stored here, or so long ago that the audit trail has no line of it any more`;
  const at = time(last.at);
  const detail = last.detail ? `: ${last.detail}` : '';
  switch (last.kind) {
    case 'delivered':
      return `it was delivered at ${at}${detail}`;
    case 'dropped':
      return `it was dropped by hand at ${at}${detail}`;
    case 'expired':
    case 'evicted':
      return `it was dropped by a rule of the policy at ${at} (${last.kind})${detail}`;
    default:
      return `it is not in the store; the last that the audit trail knows is ${last.kind} at ${at}${detail}`;
  }
}

/** Everything that stands before it, the widest first. */
function waiting(state: WhyState, entry: Entry, lane: LaneView): string[] {
  const { destination } = entry;
  const at = (ms: number): string => `${time(state.now + ms)} (in ${duration(ms)})`;
  const lines: string[] = [];
  if (!lane.link.up) lines.push(linkDown(lane, at));
  const others = behindOthers(state, entry);
  lines.push(...others);
  if (others.length === 0 && lane.forbidden !== undefined) lines.push(lane.forbidden);
  const { ms, after, failures } = lane.pause;
  if (ms > 0) {
    const tries = failures > 1 ? `, ${failures} tries in a row` : '';
    lines.push(`${destination} pauses until ${at(ms)}, after: ${after}${tries}`);
  }
  const { place } = lane;
  if (!place) {
    const first = state.oldest && state.oldest.id !== entry.id ? `, ${state.oldest.id} first` : '';
    lines.push(`older entries of ${destination} are sent before it${first}`);
    return lines;
  }
  if (state.older)
    lines.push(`${state.older.id} is older, has the same order key, and goes first: ${of(state.older)}`);
  if (place.pauseMs > 0)
    lines.push(`it is tried again at ${at(place.pauseMs)}, after: ${entry.lastError ?? 'a failed try'}`);
  if (isStuck(entry.stuck)) lines.push(refusedAlone(entry, entry.stuck, lane.giveUpAfter, at));
  if (place.retryIn !== undefined)
    lines.push(
      `${destination} refuses what is sent again, so one entry is tried at a time${place.retryIn > 0 ? `, next at ${at(place.retryIn)}` : ''}`,
    );
  if (lines.length > 0) return lines;
  return lane.underWay >= lane.concurrency
    ? [`${lane.underWay} of ${lane.concurrency} entries that may be under way to ${destination} at once are`]
    : ['nothing stands before it: it is about to be sent'];
}

function refusedAlone(
  { destination, lastError = '' }: Entry,
  stuck: Stuck,
  giveUpAfter: number,
  at: (ms: number) => string,
): string {
  const status = Number(/^\d{3}\b/.exec(lastError)?.[0] ?? 0);
  return `${destination} has refused it ${stuck.answers} times since ${time(stuck.since)} and taken others meanwhile: if that goes on it is a dead letter at ${at(giveUpIn(stuck, status, giveUpAfter))}, later where nothing else is sent (replay.retry.giveUpAfter)`;
}

const of = ({ state, attempts, lastError }: Entry): string => {
  if (state === 'sending') return `its try ${attempts + 1} is under way`;
  return lastError === undefined
    ? 'it has not been tried yet'
    : `${attempts} tries failed, the last with: ${lastError}`;
};

const WHO: Readonly<Record<string, string>> = {
  override: 'the operator said so; `layby link auto` takes it back',
  kernel: 'the kernel has no route with a carrier',
  network: 'NetworkManager says that there is no way out',
  probe: 'the probe gets no answer',
};

function linkDown({ link, probeIn }: LaneView, at: (ms: number) => string): string {
  const from = link.since ? ` since ${time(link.since)}` : '';
  const next = link.by === 'override' ? '' : `; one entry is tried all the same, next at ${at(probeIn)}`;
  return `the link is down${from}: ${WHO[link.by] ?? link.by}${next}`;
}

const time = (ms: number): string => new Date(ms).toISOString();
const since = (last: StoreEvent | undefined): string =>
  last?.kind === 'dead' ? ` since ${time(last.at)}` : '';
const rate = (bytes: number): string => `${Number(((bytes * 8) / 1e6).toPrecision(3))} Mbit/s`;
const duration = (ms: number): string =>
  ms < 1_000
    ? `${Math.max(0, Math.ceil(ms))} ms`
    : ms < 120_000
      ? `${Math.ceil(ms / 1_000)} s`
      : `${Math.ceil(ms / 60_000)} min`;
