// What the file of link usage says: read with nothing taken on trust, and written.

import { LINK_KINDS, type LinkKind } from '../policy/policy.ts';
import type { ClockReading, UsageClockState } from './usage-clock.ts';

/** Bytes by period: YYYY-MM-DD or YYYY-MM, UTC. */
export type Periods = Record<string, number>;

export interface KindUsage {
  day: Periods;
  month: Periods;
  /** Sent while the clock was not trusted; they belong to the day on which it is trusted again. */
  undated: number;
}

export interface LinkUsage {
  kinds: Record<LinkKind, KindUsage>;
  clock: UsageClockState;
}

const PERIOD = { day: /^\d{4}-\d\d-\d\d$/, month: /^\d{4}-\d\d$/ };
/** The largest time that a Date can have, ms. */
const MAX_TIME = 8.64e15;

type Fields = Record<string, unknown>;

const fieldsOf = (value: unknown): Fields => (typeof value === 'object' && value ? (value as Fields) : {});

const numberIn = (value: unknown, max: number): number | undefined =>
  typeof value === 'number' && value >= 0 && value <= max ? value : undefined;

const bytesIn = (value: unknown): number => Math.floor(numberIn(value, Number.MAX_SAFE_INTEGER) ?? 0);

const periodsIn = (value: unknown, name: RegExp): Periods =>
  Object.fromEntries(
    Object.entries(fieldsOf(value))
      .filter(([key]) => name.test(key))
      .map(([key, bytes]) => [key, bytesIn(bytes)]),
  );

const readingIn = (value: unknown): ClockReading | undefined => {
  const { wall, uptime, boot } = fieldsOf(value);
  const [at, up] = [numberIn(wall, MAX_TIME), numberIn(uptime, MAX_TIME)];
  if (at === undefined || up === undefined || typeof boot !== 'string') return undefined;
  return { wall: at, uptime: up, boot };
};

/** A file of before has no clock: it was trusted on the last day that has usage. */
const lastDay = (kinds: LinkUsage['kinds']): number | undefined => {
  const days = LINK_KINDS.flatMap((kind) => Object.keys(kinds[kind].day)).sort();
  return numberIn(Date.parse(days.at(-1) ?? ''), MAX_TIME);
};

/** Throws where it is no JSON; what is no usage in it counts as 0. */
export function parseLinkUsage(text: string): LinkUsage {
  const file = fieldsOf(JSON.parse(text));
  const kinds = Object.fromEntries(
    LINK_KINDS.map((kind) => {
      const { day, month, undated } = fieldsOf(file[kind]);
      const of = { day: periodsIn(day, PERIOD.day), month: periodsIn(month, PERIOD.month) };
      return [kind, { ...of, undated: bytesIn(undated) }];
    }),
  ) as LinkUsage['kinds'];
  const clock = fieldsOf(file.clock);
  const trustedAt = numberIn(clock.trustedAt, MAX_TIME) ?? lastDay(kinds);
  const behindSince = numberIn(clock.behindSince, MAX_TIME);
  const last = readingIn(clock.last);
  return {
    kinds,
    clock: {
      ...(trustedAt !== undefined && { trustedAt }),
      ...(behindSince !== undefined && { behindSince }),
      ...(last && { last }),
    },
  };
}

export const noUsage = (): LinkUsage => parseLinkUsage('{}');

export const formatLinkUsage = ({ kinds, clock }: LinkUsage): string => JSON.stringify({ ...kinds, clock });
