// The bytes that replay has sent over each kind of link, by day and month (UTC), in a small file that outlives restarts. What is
// under way counts whole from its start, so that attempts side by side cannot pass a limit together; what was not sent comes back.

import { mkdirSync, readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { dirname } from 'node:path';
import { LINK_KINDS, type LinkKind } from '../policy/policy.ts';
import { replaceFile } from '../policy/replace-file.ts';
import { type BootClock, bootClock } from '../store/leveldb/boot-clock.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { formatLinkUsage, type LinkUsage, noUsage, type Periods, parseLinkUsage } from './link-usage-file.ts';
import { UsageClock } from './usage-clock.ts';

/** Bytes in the present periods. */
export interface Usage {
  day: number;
  month: number;
}

/** The file is written at most so often, ms, unless a lot is sent; a crash forgets what was sent since. */
const WRITE_EVERY = 1_000;
/** So many bytes that the file does not have are written at once. */
const WRITE_AFTER = 4 * 1024 * 1024;
/** With more bytes that the file does not have nothing leaves until it has them: a crash forgets no more. */
export const UNSAVED_MAX = 8 * 1024 * 1024;
/** Of each kind, days and months that are remembered. */
const KEPT = 3;

const SPANS = ['day', 'month'] as const;

const periodOf = (day: string, span: 'day' | 'month'): string => (span === 'day' ? day : day.slice(0, 7));

/** CLOCK_BOOTTIME: CLOCK_MONOTONIC stands still while the machine is suspended, and each resumption would look like a step. */
const machineClock: BootClock = { ...bootClock, uptime: () => Math.round(uptime() * 1_000) };

export class Budget {
  readonly #file: string;
  readonly #log: Logger;
  readonly #kinds: LinkUsage['kinds'];
  readonly #clock: UsageClock;
  readonly #wall: () => number;
  /** The day that is counted in; '': none was ever known. */
  #day = '';
  /** The second of the last look at the clock. */
  #lookedAt = Number.NaN;
  readonly #reserved: Record<LinkKind, number> = { wired: 0, wifi: 0, lte: 0, other: 0 };
  #timer: NodeJS.Timeout | undefined;
  /** Bytes that the file does not have. */
  #unsaved = 0;
  #saving: Promise<void> | undefined;

  /** Reads the file; one that is missing or damaged is an empty one. */
  constructor(file: string, log: Logger, clock: BootClock = machineClock) {
    this.#file = file;
    this.#log = log;
    this.#wall = clock.wall;
    mkdirSync(dirname(file), { recursive: true });
    let usage = noUsage();
    try {
      usage = parseLinkUsage(readFileSync(file, 'utf8'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        log.error(
          { err: messageOf(error) },
          'what was used of the link budgets cannot be read: it counts from 0',
        );
    }
    this.#kinds = usage.kinds;
    this.#clock = new UsageClock(usage.clock, clock);
    if (usage.clock.trustedAt !== undefined)
      this.#day = new Date(usage.clock.trustedAt).toISOString().slice(0, 10);
  }

  /** Asks the clock, and moves usage where it was corrected. */
  #look(): void {
    const second = Math.floor(this.#wall() / 1_000);
    if (second === this.#lookedAt) return;
    this.#lookedAt = second;
    const before = this.#clock.state.behindSince;
    const { day, trusted, stepped } = this.#clock.look();
    // The next start must know since when, also where nothing may be sent.
    if (this.#clock.state.behindSince !== before) this.#saveSoon();
    if (!trusted || day === undefined) return;
    for (const kind of LINK_KINDS) {
      const usage = this.#kinds[kind];
      for (const span of SPANS) {
        const periods = usage[span];
        const key = periodOf(day, span);
        const old = periodOf(this.#day, span);
        if (stepped && old !== key && periods[old] !== undefined) {
          add(periods, key, periods[old]);
          delete periods[old];
        }
        if (usage.undated > 0) add(periods, key, usage.undated);
      }
      usage.undated = 0;
    }
    this.#day = day;
  }

  /** With what is under way. */
  used(kind: LinkKind): Usage {
    this.#look();
    const { day, month, undated } = this.#kinds[kind];
    const more = this.#reserved[kind] + undated;
    return {
      day: (day[this.#day] ?? 0) + more,
      month: (month[periodOf(this.#day, 'month')] ?? 0) + more,
    };
  }

  /** Of every kind. */
  view(): Record<LinkKind, Usage> {
    return Object.fromEntries(LINK_KINDS.map((kind) => [kind, this.used(kind)])) as Record<LinkKind, Usage>;
  }

  /** An attempt starts that may send `bytes` over this kind of link; kind undefined: nobody knows it, and nothing is counted. */
  reserve(kind: LinkKind | undefined, bytes: number): Reservation {
    return new Reservation(
      bytes,
      kind,
      (of, more) => {
        this.#reserved[of] += more;
      },
      (of, sent) => this.#count(of, sent),
    );
  }

  #count(kind: LinkKind, bytes: number): Promise<void> | undefined {
    this.#look();
    const usage = this.#kinds[kind];
    if (this.#clock.trusted)
      for (const span of SPANS) {
        const periods = usage[span];
        const key = periodOf(this.#day, span);
        add(periods, key, bytes);
        for (const old of Object.keys(periods).sort().slice(0, -KEPT)) if (old !== key) delete periods[old];
      }
    else usage.undated += bytes;
    this.#unsaved += bytes;
    if (this.#unsaved >= WRITE_AFTER) void this.#save();
    else this.#saveSoon();
    return this.#unsaved > UNSAVED_MAX ? this.#untilSaved() : undefined;
  }

  #saveSoon(): void {
    this.#timer ??= setTimeout(() => void this.#save(), WRITE_EVERY).unref();
  }

  async #untilSaved(): Promise<void> {
    while (this.#unsaved > UNSAVED_MAX) await this.#save();
  }

  /** One write at a time. Never rejects. */
  #save(): Promise<void> {
    this.#saving ??= this.#write().finally(() => {
      this.#saving = undefined;
    });
    return this.#saving;
  }

  async #write(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const bytes = this.#unsaved;
    const text = formatLinkUsage({ kinds: this.#kinds, clock: this.#clock.state });
    try {
      await replaceFile(this.#file, text);
    } catch (error) {
      this.#log.error({ err: messageOf(error) }, 'what was used of the link budgets cannot be kept');
    }
    // Also where it failed: a disk that takes nothing more must not stop replay, which makes room on it.
    this.#unsaved -= bytes;
  }

  async close(): Promise<void> {
    await this.#saving;
    if (this.#timer || this.#unsaved > 0) await this.#save();
  }
}

/** The bytes that one attempt may still send, counted as used until they are sent or released. */
export class Reservation {
  #remaining: number;
  #kind: LinkKind | undefined;
  readonly #reserve: (kind: LinkKind, bytes: number) => void;
  readonly #count: (kind: LinkKind, bytes: number) => Promise<void> | undefined;

  constructor(
    bytes: number,
    kind: LinkKind | undefined,
    reserve: (kind: LinkKind, bytes: number) => void,
    count: (kind: LinkKind, bytes: number) => Promise<void> | undefined,
  ) {
    this.#remaining = bytes;
    this.#kind = kind;
    this.#reserve = reserve;
    this.#count = count;
    if (kind) reserve(kind, bytes);
  }

  /** Bytes that were reserved and not sent. */
  get remaining(): number {
    return this.#remaining;
  }

  /** What is sent from now on goes over another kind of link. */
  switchTo(kind: LinkKind | undefined): void {
    if (kind === this.#kind) return;
    if (this.#kind) this.#reserve(this.#kind, -this.#remaining);
    if (kind) this.#reserve(kind, this.#remaining);
    this.#kind = kind;
  }

  /** `bytes` leave now, whether they were reserved or not. They may leave when the promise resolves; undefined: at once. */
  spend(bytes: number): Promise<void> | undefined {
    const reserved = Math.min(this.#remaining, bytes);
    this.#remaining -= reserved;
    if (!this.#kind) return undefined;
    this.#reserve(this.#kind, -reserved);
    return this.#count(this.#kind, bytes);
  }

  /** Gives back what was not sent. */
  release(): void {
    if (this.#kind) this.#reserve(this.#kind, -this.#remaining);
    this.#remaining = 0;
  }
}

const add = (periods: Periods, key: string, bytes: number): void => {
  periods[key] = Math.min(Number.MAX_SAFE_INTEGER, (periods[key] ?? 0) + bytes);
};
