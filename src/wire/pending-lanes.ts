// Which lanes may have entries, on the disk: the control plane reads it when it starts, so that no direct call overtakes what is
// stored while the queue has not reported yet (law 3). The queue writes it.
//
//   not marked ── mark() ──► marked, once the file is durable ── unmark() ──► marked still, for LINGER_MS ──► not marked
//
// The invariant: a lane that has an entry is marked in the durable file. So a lane is marked before the first commit of a
// generation, and unmarked only after it is empty. Marking again within LINGER_MS costs nothing. A lane that is marked and
// empty does no harm: its calls are held until the queue reports.

import { LaybyError, messageOf } from '../telemetry/error.ts';
import { checkedJson, readCheckedJson } from './checked-json.ts';
import type { DurableFile } from './durable-file.ts';

const FORMAT = 1;
/** How long a lane stays marked after it became empty: a link that flaps fills it again and again. ms. */
const LINGER_MS = 5_000;

/** The marked lanes. undefined: the file is missing, damaged, of another format or cannot be read, so any lane may have entries. */
export function readPendingLanes(file: DurableFile): ReadonlySet<string> | undefined {
  try {
    const lanes = readCheckedJson(FORMAT, file.read() ?? '');
    const valid = Array.isArray(lanes) && lanes.every((lane) => typeof lane === 'string');
    return valid ? new Set<string>(lanes) : undefined;
  } catch {
    return undefined;
  }
}

export class PendingLanes {
  readonly #file: DurableFile;
  readonly #onProblem: (error: unknown) => void;
  readonly #marked = new Set<string>();
  readonly #lingering = new Map<string, NodeJS.Timeout>();
  /** What the file has for sure, whichever of the writes under way a crash leaves. */
  #durable: ReadonlySet<string> = new Set();
  /** Resolves when the writes under way and due have ended. */
  #writing: Promise<void> | undefined;
  /** The next write, which begins when the one under way has ended. */
  #next: Promise<void> | undefined;

  /** `onProblem`: the file cannot be written. */
  constructor(file: DurableFile, onProblem: (error: unknown) => void = () => {}) {
    this.#file = file;
    this.#onProblem = onProblem;
  }

  /** Begins with these lanes, instead of whatever the file had. Rejects with LAYBY_STORE_FAILED. */
  open(lanes: Iterable<string>): Promise<void> {
    for (const lane of lanes) this.#marked.add(lane);
    return this.#write();
  }

  /** Resolves when the lane is marked, whatever crashes from now on. Marks that come together share one write. Rejects with
   *  LAYBY_STORE_FAILED. */
  async mark(lane: string): Promise<void> {
    clearTimeout(this.#lingering.get(lane));
    this.#lingering.delete(lane);
    this.#marked.add(lane);
    if (!this.#durable.has(lane)) await this.#write();
  }

  /** The lane is empty. To be called only while nothing of it waits or is being stored. */
  unmark(lane: string): void {
    if (!this.#marked.has(lane) || this.#lingering.has(lane)) return;
    const timer = setTimeout(() => {
      this.#lingering.delete(lane);
      this.#marked.delete(lane);
      this.#write().catch(() => {});
    }, LINGER_MS);
    this.#lingering.set(lane, timer.unref());
  }

  #write(): Promise<void> {
    if (this.#next) return this.#next;
    const before = this.#writing ?? Promise.resolve();
    const mine = before
      .catch(() => {})
      .then(() => {
        if (this.#next === mine) this.#next = undefined;
        return this.#replace();
      });
    this.#next = mine;
    this.#writing = mine;
    return mine;
  }

  async #replace(): Promise<void> {
    const lanes = new Set(this.#marked);
    // Until it has ended the disk has the one or the other: only what is in both is there for sure.
    this.#durable = new Set([...this.#durable].filter((lane) => lanes.has(lane)));
    try {
      await this.#file.replace(checkedJson(FORMAT, [...lanes].sort()));
    } catch (error) {
      this.#onProblem(error);
      // Without a file nothing is known to be empty, so everything is held after a restart: slower, and as safe.
      await this.#file.remove().catch((cause) => {
        throw new LaybyError(
          'LAYBY_STORE_FAILED',
          `${this.#file.path} can be neither written nor removed: ${messageOf(cause)}`,
          { cause: error },
        );
      });
    }
    this.#durable = lanes;
  }

  /** Writes what is due. */
  async close(): Promise<void> {
    for (const [lane, timer] of this.#lingering) {
      clearTimeout(timer);
      this.#marked.delete(lane);
    }
    this.#lingering.clear();
    await this.#write().catch(() => {});
  }
}
