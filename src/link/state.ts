// The state of the link to one destination, from what each source says of it. Pure: no clock, no I/O, so a test owns both.
// Where the hints come from is for src/link/kernel.ts and its later neighbours; what a change means (a hold, a probe by
// replay) is for the control plane and replay.
//
// The states:
//   up    The way to the upstream may work: requests may go direct, replay may try. It is no promise that it works: a
//         hint may start a hold, but only real progress ends one.
//   down  Somebody knows that the way does not work: the operator says so, or the kernel has no route with a carrier.
//
// The sources, the first that knows decides:
//   override  the operator: `down` or `up`; `auto` leaves it to the others
//   kernel    true: a route exists; false: none does; undefined: not known (no iproute2, a name not yet looked up)
//   default   nobody knows: up, since Envoy and the queue notice a dead way by themselves, and a link held down by mistake
//             would stop everything

export type Override = 'down' | 'up' | 'auto';

/** What one source says, one field per source; a new source is a field here and a line in `decide`. */
export interface LinkHints {
  override: Override;
  /** Whether the kernel has a route to the upstream; undefined: not known. */
  kernel: boolean | undefined;
}

export interface LinkState {
  state: 'up' | 'down';
  /** The source that decided. */
  by: 'override' | 'kernel' | 'default';
  /** When `state` last changed, in ms of the clock that the caller gives; another source alone does not change it. */
  since: number;
}

/** One destination's link. Never changed; each step makes a new one. */
export interface Link {
  hints: LinkHints;
  state: LinkState;
}

const decide = ({ override, kernel }: LinkHints): Pick<LinkState, 'state' | 'by'> => {
  if (override !== 'auto') return { state: override, by: 'override' };
  if (kernel !== undefined) return { state: kernel ? 'up' : 'down', by: 'kernel' };
  return { state: 'up', by: 'default' };
};

/** A link of which nobody knows anything yet: up by default. `now`: ms. */
export const newLink = (now: number): Link => {
  const hints: LinkHints = { override: 'auto', kernel: undefined };
  return { hints, state: { ...decide(hints), since: now } };
};

/**
 * The link after some sources have spoken. `now`: ms. Answers the same `state` object where neither state nor source
 * changed, so `!==` tells whether there is something to tell.
 */
export const step = (link: Link, said: Partial<LinkHints>, now: number): Link => {
  const hints = { ...link.hints, ...said };
  const { state, by } = decide(hints);
  const before = link.state;
  if (state === before.state && by === before.by) return { hints, state: before };
  return { hints, state: { state, by, since: state === before.state ? before.since : now } };
};
