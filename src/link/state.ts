// The state of the link to one destination, from what each source says of it. Pure: no clock, no I/O, so a test owns both.
// Where the hints come from is for the other files of this room; what a change means (a hold, a probe by replay) is for the control
// plane and replay.
//
// The states:
//   up    The way to the upstream may work: requests may go direct, replay may try. It is no promise that it works.
//   slow  It works badly, or it is not sure yet that it works: replay sends one entry at a time. New calls are held only while the
//         link flaps.
//   down  Somebody knows that the way does not work: calls are held; replay tries one entry now and then, since who says so may
//         be wrong.
//
// The sources, and what each can say:
//   override  the operator: `down` or `up`, whatever the others say; `auto` leaves it to them
//   kernel    whether there is a route with a carrier
//   network   NetworkManager and ModemManager: no connectivity or a captive portal (down), a weak signal (slow)
//   traffic   what Envoy and replay see: tries fail (slow; which link is to blame is not known), or they pass
//   probe     the optional probe: answers, answers late (slow), does not answer (down)
//   default   nobody knows: up, since Envoy and the queue notice a dead way by themselves, and a link held down by mistake would
//             stop everything
//
// The rules, the first that fits decides:
//   1. The override.
//   2. A source that says down. A hint may start a hold, but it does not outlive real progress: once something has got through after the
//      source spoke, its `down` counts no more until it says something else.
//   3. Flapping: after FLAPS downs within FLAP_WINDOW a link that comes back is `slow` and stays held until it has lasted
//      SETTLE, or something has got through. Replay may try at once all the same: the first byte waits for nobody.
//   4. A source that says slow.
//   5. A source that says up; else the default.

export type Override = 'down' | 'up' | 'auto';
export type Word = 'up' | 'slow' | 'down';
export type Source = 'override' | 'kernel' | 'network' | 'traffic' | 'probe';

/** Downs of a link that is called flapping, */
export const FLAPS = 3;
/** within so long, ms. */
export const FLAP_WINDOW = 60_000;
/** How long it must last then, ms. */
export const SETTLE = 5_000;

/** What each source says; undefined: it does not know. A new source is a field here, and a line in `wordOf`. */
export interface LinkHints {
  override: Override;
  /** Whether the kernel has a route to the upstream. */
  kernel: boolean | undefined;
  network: Word | undefined;
  /** Whether the last try got through to the destination. */
  traffic: 'passes' | 'fails' | undefined;
  probe: Word | undefined;
}

export interface LinkState {
  state: Word;
  /** The source that decided. */
  by: Source | 'flapping' | 'default';
  /** When `state` last changed, in ms of the clock that the caller gives; another source alone does not change it. */
  since: number;
}

/** One destination's link. Never changed; each step makes a new one. */
export interface Link {
  hints: LinkHints;
  /** When each source began to say what it says, ms. */
  spoke: Readonly<Partial<Record<Source, number>>>;
  /** When something last got through, ms. */
  progress: number;
  /** When it went down of late, without the operator's doing; ms, the oldest first, FLAPS at most. */
  downs: readonly number[];
  state: LinkState;
}

/** In the order in which they are asked. */
export const SOURCES: readonly Source[] = ['override', 'kernel', 'network', 'probe', 'traffic'];

/** What a source says, in the words of the states. */
export const wordOf = (hints: LinkHints, source: Source): Word | undefined => {
  switch (source) {
    case 'override':
      return hints.override === 'auto' ? undefined : hints.override;
    case 'kernel':
      return hints.kernel === undefined ? undefined : hints.kernel ? 'up' : 'down';
    case 'traffic':
      return hints.traffic && (hints.traffic === 'passes' ? 'up' : 'slow');
    case 'network':
    case 'probe':
      return hints[source];
  }
};

/** When a flapping link counts as up if nothing happens until then, ms; undefined where it does not flap. */
export const settlesAt = ({ downs, progress, hints, spoke }: Link): number | undefined => {
  const last = downs.at(-1);
  const first = downs[0];
  if (last === undefined || first === undefined || downs.length < FLAPS || progress > last) return undefined;
  if (last - first > FLAP_WINDOW) return undefined;
  // It came back when the last of those who had said down took it back.
  const back = SOURCES.filter((source) => wordOf(hints, source) === 'up').map(
    (source) => spoke[source] ?? last,
  );
  return Math.max(last, ...back) + SETTLE;
};

const decide = (
  link: Omit<Link, 'state'> & { state: LinkState },
  now: number,
): Pick<LinkState, 'state' | 'by'> => {
  const { hints, spoke, progress } = link;
  const words = SOURCES.map((source) => [source, wordOf(hints, source)] as const);
  const [, override] = words[0]!;
  if (override !== undefined) return { state: override, by: 'override' };
  const saying = (wanted: Word): Source | undefined =>
    words.find(
      ([source, word]) => word === wanted && (wanted !== 'down' || (spoke[source] ?? 0) >= progress),
    )?.[0];
  const down = saying('down');
  if (down) return { state: 'down', by: down };
  const settles = settlesAt(link);
  if (settles !== undefined && now < settles) return { state: 'slow', by: 'flapping' };
  const slow = saying('slow');
  if (slow) return { state: 'slow', by: slow };
  return { state: 'up', by: saying('up') ?? 'default' };
};

/** A link of which nobody knows anything yet: up by default. `now`: ms. */
export const newLink = (now: number): Link => ({
  hints: { override: 'auto', kernel: undefined, network: undefined, traffic: undefined, probe: undefined },
  spoke: {},
  progress: Number.NEGATIVE_INFINITY,
  downs: [],
  state: { state: 'up', by: 'default', since: now },
});

/**
 * The link after some sources have spoken; `traffic: 'passes'` is real progress each time it is said. `now`: ms. Answers the same
 * `state` object where neither state nor source changed, so `!==` tells whether there is something to tell. To be called at
 * `settlesAt` too.
 */
export const step = (link: Link, said: Partial<LinkHints>, now: number): Link => {
  const hints = { ...link.hints, ...said };
  const news = SOURCES.filter((source) => hints[source] !== link.hints[source]);
  const spoke = { ...link.spoke, ...Object.fromEntries(news.map((source) => [source, now])) };
  const progress = said.traffic === 'passes' ? now : link.progress;
  const before = link.state;
  const next = { ...link, hints, spoke, progress };
  const { state, by } = decide(next, now);
  if (state === before.state && by === before.by) return next;
  const fell = state === 'down' && before.state !== 'down' && by !== 'override';
  const downs = fell ? [...link.downs, now].slice(-FLAPS) : link.downs;
  return { ...next, downs, state: { state, by, since: state === before.state ? before.since : now } };
};

/** Whether new calls must not go direct. */
export const isHeld = ({ state, by }: LinkState): boolean => state === 'down' || by === 'flapping';

/** Whether nothing at all may go over it: the operator has said so, and no hint has that much to say. */
export const isStopped = ({ state, by }: LinkState): boolean => state === 'down' && by === 'override';
