// What the soak says: a line for each minute, and whether memory grows with the requests. Pure.

/** Bytes; the lowest of a minute. */
export interface PartMemory {
  rssAnon: number;
  /** Of Node's processes. */
  heapTotal?: number;
  heapUsed?: number;
  external?: number;
  arrayBuffers?: number;
}

export interface Minute {
  minute: number;
  /** Since the start. */
  requests: number;
  stored: number;
  /** Entries in the queue at the end of the minute. */
  waiting: number;
  parts: Record<string, PartMemory>;
}

/** This part of the run fills caches, pools and the heap's generations, and is not judged. */
const WARM_UP = 1 / 3;
/** A part grows whose memory is higher at the end than after the warm-up by more than this share, or so many bytes where that is more. */
const FLAT = { share: 0.05, bytes: 4e6 };

const mb = (bytes: number | undefined): string => (bytes === undefined ? '' : (bytes / 1e6).toFixed(1));

const COLUMNS = [
  'minute',
  'requests',
  'stored',
  'waiting',
  'queue RssAnon',
  'heapTotal',
  'heapUsed',
  'external',
  'arrayBuffers',
  'control plane RssAnon',
  'heapUsed',
  'Envoy RssAnon',
];

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

/** Figures of memory are MB. */
export const MINUTE_HEADER = `${row(COLUMNS)}\n${row(COLUMNS.map(() => '--:'))}`;

export function minuteRow({ minute, requests, stored, waiting, parts }: Minute): string {
  const { queue, 'control-plane': plane, envoy } = parts;
  return row([
    ...[minute, requests, stored, waiting].map(String),
    ...[mb(queue?.rssAnon), mb(queue?.heapTotal), mb(queue?.heapUsed)],
    ...[mb(queue?.external), mb(queue?.arrayBuffers)],
    ...[mb(plane?.rssAnon), mb(plane?.heapUsed), mb(envoy?.rssAnon)],
  ]);
}

/** Least squares: how much y grows for each x. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (at: 0 | 1) => points.reduce((sum, point) => sum + point[at], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  let [over, under] = [0, 0];
  for (const [px, py] of points) {
    over += (px - x) * (py - y);
    under += (px - x) ** 2;
  }
  return under === 0 ? 0 : over / under;
}

/** Of the minutes behind the warm-up. */
export function verdictOf(part: string, minutes: readonly Minute[]): { flat: boolean; words: string } {
  const judged = minutes.slice(Math.ceil(minutes.length * WARM_UP));
  const points = judged.map(({ requests, parts }) => [requests, parts[part]!.rssAnon] as const);
  const slope = slopeOf(points);
  const span = points.at(-1)![0] - points[0]![0];
  const mean = points.reduce((sum, [, bytes]) => sum + bytes, 0) / points.length;
  const flat = slope * span <= Math.max(mean * FLAT.share, FLAT.bytes);
  const each = `${slope.toFixed(1)} bytes a request`;
  const words = `${part}: ${flat ? 'flat' : 'GROWS'}: ${mb(slope * span)} MB over ${span} requests, ${each}, at ${mb(mean)} MB`;
  return { flat, words };
}
