// The state machine of a destination: may its calls go direct, or must they pass the queue?
//
//   direct    the link is up and nothing waits: the sidecar sends by itself, and fails over by itself.
//   held      the link is down or flaps, so say its sources: calls go to the queue at once, nobody pays a time-out.
//   draining  the link may be up, but older entries wait: a direct call would overtake them (law 3).
//
//   direct ── link down ──────────────► held
//   direct ── an entry waits ─────────► draining      (order none: only while tries fail)
//   held ──── link up, entries wait ──► draining
//   held ──── link up, nothing waits ─► direct
//   draining ── lane empty ───────────► direct        (order none: or the first try that gets through)
//   draining ── link down ────────────► held
//
// No I/O: inputs in, state out.

import { mayStore } from '../policy/in-force.ts';
import type { Destination } from '../policy/policy.ts';
import type { RefusedView } from '../wire/edge-service.ts';

export type HoldState = 'direct' | 'held' | 'draining';

export interface HoldInputs {
  /** Calls may try the direct way (link/state.ts, isHeld). */
  linkUp: boolean;
  /** The operator has said that nothing goes over it. */
  stopped: boolean;
  /** An entry waits, or is about to be committed; or nobody knows that none does. */
  pending: boolean;
  /** Who says so of `pending`: the queue, or nobody since it has not reported. `unknown`: nor does the disk tell. */
  lane: 'reported' | 'remembered' | 'unknown';
  /** The last try failed for want of a link, and nothing has got through since. */
  failing: boolean;
}

export function holdState(destination: Destination, inputs: HoldInputs): HoldState {
  // A source that is wrong would cut such a destination off for ever: nothing is tried now and then that could prove it wrong.
  if (!mayStore(destination)) return inputs.stopped ? 'held' : 'direct';
  if (!inputs.linkUp) return 'held';
  const overtakes = destination.store.order !== 'none';
  return inputs.pending && (overtakes || inputs.failing) ? 'draining' : 'direct';
}

/** What an operator reads. */
export function whyHeld(
  state: HoldState,
  inputs: HoldInputs,
  linkBy: string,
  destination: Destination,
): string {
  switch (state) {
    case 'direct':
      return 'calls go straight to the destination';
    case 'held':
      if (!mayStore(destination))
        return 'the operator has stopped the link: calls are refused, since nothing of this destination is stored';
      if (inputs.stopped)
        return `the link is down (${linkBy}): calls are stored, and what is not stored is refused`;
      return linkBy === 'flapping'
        ? 'the link flaps: calls are stored until it has lasted, or something has got through'
        : `the link is down (${linkBy}): calls are stored`;
    case 'draining':
      if (inputs.lane === 'unknown')
        return 'the queue has not reported yet, and which lanes have entries is not on the disk: calls are stored behind what may wait';
      if (inputs.lane === 'remembered')
        return 'the queue has not reported yet, and had entries when it last ran: calls are stored behind them';
      return inputs.failing
        ? 'the destination cannot be reached: calls are stored, and sent in their order'
        : 'older entries are being sent first';
  }
}

/** Why, where nothing waits but what the destination refuses; undefined: for another reason. */
export function whyRefused(state: HoldState, refused: RefusedView | undefined): string | undefined {
  if (state !== 'draining' || !refused?.alone) return undefined;
  const { entries, behind } = refused;
  const others = behind > 0 ? `, and ${behind} with the same order key behind` : '';
  return `the destination refuses ${entries} ${entries === 1 ? 'entry' : 'entries'}${others}; other calls pass the queue and go straight on`;
}
