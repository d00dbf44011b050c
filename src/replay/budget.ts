// The bytes that replay has sent over each kind of link, by day and month (UTC), in a small file that outlives restarts. What is
// under way counts whole from its start, so that tries side by side cannot pass a limit together; what it did not send comes back.

import { mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { LINK_KINDS, type LinkKind } from '../policy/policy.ts';
import { replaceFile } from '../policy/replace-file.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';

/** Bytes in the present periods. */
export interface Usage {
  day: number;
  month: number;
}

type Periods = Record<string, number>;
type Counts = Record<LinkKind, { day: Periods; month: Periods }>;

/** The file is written so often at most, ms: a crash forgets what was sent in that time. */
const WRITE_EVERY = 1_000;
/** Of each kind, days and months that are remembered. */
const KEPT = 3;
/** Before this the clock has not been set yet: what is sent then counts in the last period that is known. */
const CLOCK_SET = Date.UTC(2026, 0, 1);

const none = (): Counts =>
  Object.fromEntries(LINK_KINDS.map((kind) => [kind, { day: {}, month: {} }])) as Counts;

const latest = (periods: Periods): string | undefined => Object.keys(periods).sort().at(-1);

export class Budget {
  readonly #file: string;
  readonly #log: Logger;
  readonly #now: () => number;
  #counts: Counts = none();
  #reserved: Record<LinkKind, number> = { wired: 0, wifi: 0, lte: 0, other: 0 };
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  /** Reads the file; one that is missing or damaged is an empty one. `now`: wall clock, ms. */
  constructor(file: string, log: Logger, now: () => number = Date.now) {
    this.#file = file;
    this.#log = log;
    this.#now = now;
    mkdirSync(dirname(file), { recursive: true });
    try {
      const kept = JSON.parse(readFileSync(file, 'utf8')) as Partial<Counts>;
      for (const kind of LINK_KINDS)
        this.#counts[kind] = { day: { ...kept[kind]?.day }, month: { ...kept[kind]?.month } };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        log.error(
          { err: messageOf(error) },
          'what was used of the link budgets cannot be read: it counts from 0',
        );
    }
  }

  #period(kind: LinkKind, span: 'day' | 'month'): string {
    const now = this.#now();
    const key = new Date(now).toISOString().slice(0, span === 'day' ? 10 : 7);
    return now < CLOCK_SET ? (latest(this.#counts[kind][span]) ?? key) : key;
  }

  /** With what is under way. */
  used(kind: LinkKind): Usage {
    const { day, month } = this.#counts[kind];
    const reserved = this.#reserved[kind];
    return {
      day: (day[this.#period(kind, 'day')] ?? 0) + reserved,
      month: (month[this.#period(kind, 'month')] ?? 0) + reserved,
    };
  }

  /** Of every kind. */
  view(): Record<LinkKind, Usage> {
    return Object.fromEntries(LINK_KINDS.map((kind) => [kind, this.used(kind)])) as Record<LinkKind, Usage>;
  }

  /** A try of `bytes` begins over this kind of link: `moved` counts what goes, `end` gives back what did not. */
  begin(kind: LinkKind, bytes: number): { moved: (bytes: number) => void; end: () => void } {
    let left = bytes;
    this.#reserved[kind] += bytes;
    return {
      moved: (more) => {
        const gone = Math.min(left, more);
        left -= gone;
        this.#reserved[kind] -= gone;
        this.#count(kind, more);
      },
      end: () => {
        this.#reserved[kind] -= left;
        left = 0;
      },
    };
  }

  #count(kind: LinkKind, bytes: number): void {
    for (const span of ['day', 'month'] as const) {
      const periods = this.#counts[kind][span];
      const key = this.#period(kind, span);
      periods[key] = (periods[key] ?? 0) + bytes;
      for (const old of Object.keys(periods).sort().slice(0, -KEPT)) if (old !== key) delete periods[old];
    }
    this.#timer ??= setTimeout(() => this.#write(), WRITE_EVERY).unref();
  }

  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const text = JSON.stringify(this.#counts);
    this.#writing = this.#writing
      .then(() => replaceFile(this.#file, text))
      .catch((error) =>
        this.#log.error({ err: messageOf(error) }, 'what was used of the link budgets cannot be kept'),
      );
  }

  async close(): Promise<void> {
    if (this.#timer) this.#write();
    await this.#writing;
  }
}
