// Which tries a link that is back leaves hanging. Pure. After a cut TCP's next attempt comes as late again as the cut was long; a try that
// was under way then is cut and begins again where it was. One whose destination only takes its time must not be: it would send all
// of it twice.

/** A try of which nothing has moved for so long is stalled, ms. TCP is back within it after a short loss. */
export const STALLED_MS = 3_000;
/** A link that is lost without a word is noticed within so long, ms. What had stopped moving earlier than that had its bytes at the
 *  destination by then, and waits for the answer. */
const NOTICED_MS = 10_000;

export interface LinkTimes {
  /** When the link was said to be down, and up again. */
  down: number;
  up: number;
}

/** `began`, `moved`: of the try, when it began and when the last piece of its body left; of one time with `now`, ms. */
export const isStalled = (
  { began, moved }: { began: number; moved: number },
  { down, up }: LinkTimes,
  now: number,
): boolean =>
  // What began since has a connection that was made since (see Egress.linkBack).
  began < up && moved > down - NOTICED_MS && now - moved >= STALLED_MS;
