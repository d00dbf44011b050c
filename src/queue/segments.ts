// A stream that the policy wants in segments: a body of unknown length, perhaps hours of it, becomes one entry after the other, each
// safe and on its way while the app goes on. So a crash, or an app that goes away, costs at most the segment that was open.
//
//   open ── enough bytes, or enough time ──► committed, the next byte opens the next one
//   open ── the body ends ─────────────────► committed, the last one (it may be empty), and the app gets its receipt
//   open ── the app goes away ─────────────► committed, marked as torn; nobody is owed a receipt

import { v5 as uuidv5 } from 'uuid';
import { timerMs } from '../platform/timer.ts';
import type { Segmenting } from '../policy/policy.ts';
import type { Entry, EntryHead, EntryWriter } from '../store/store.ts';
import { SEGMENT_HEADER, STREAM_END_HEADER, STREAM_HEADER } from '../wire/names.ts';
import type { Arrival, Outcome, Surroundings } from './arrival.ts';
import { ClientDisconnected } from './client-signal.ts';
import type { Filing } from './filing.ts';

/** How the stream ended, said on its last segment. */
type End = 'whole' | 'torn';

const NUMBER_DIGITS = 6;
/** What an object of S3 keeps of a request's own headers. */
const S3_PREFIX = 'x-amz-meta-';

/** The URL of a segment, from 0. */
export function segmentUrl(url: string, template: string, number: number): string {
  const [, origin, path, query = ''] = /^(http:\/\/[^/]*)([^?]*)(\?.*)?$/.exec(url)!;
  const n = String(number).padStart(NUMBER_DIGITS, '0');
  return origin + template.replaceAll(/\{(path|n)\}/g, (_, part) => (part === 'n' ? n : path!)) + query;
}

class Stream {
  readonly #around: Surroundings;
  readonly #arrival: Arrival;
  readonly #segmenting: Segmenting;
  /** As one request, it would be filed so. */
  readonly #whole: Filing;
  #number = 0;
  #writer: EntryWriter | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Pieces of the app and the timer take turns. */
  #turn: Promise<unknown> = Promise.resolve();
  #failure: unknown;

  constructor(around: Surroundings, arrival: Arrival, whole: Filing, segmenting: Segmenting) {
    this.#around = around;
    this.#arrival = arrival;
    this.#whole = whole;
    this.#segmenting = segmenting;
  }

  #next<T>(task: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(task);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  write(piece: Buffer): Promise<void> {
    return this.#next(async () => {
      if (this.#failure) throw this.#failure;
      for (let at = 0; at < piece.length; ) {
        const writer = this.#writer ?? (await this.#open(this.#arrival.signal));
        const part = piece.subarray(at, at + this.#segmenting.bytes - writer.bytes);
        await writer.write(part);
        at += part.length;
        if (writer.bytes >= this.#segmenting.bytes) await this.#commit();
      }
    });
  }

  end(how: End): Promise<Entry> {
    return this.#next(async () => {
      if (this.#failure) throw this.#failure;
      if (!this.#writer) await this.#open();
      return this.#commit(how);
    });
  }

  /** What is open is given up; what was committed stays. */
  async abort(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#turn;
    await this.#writer?.abort();
  }

  #header(name: string, value: string | number): string[] {
    const { sign } = this.#arrival.destination.upstream;
    return [(sign?.aws.service === 's3' ? S3_PREFIX : '') + name, String(value)];
  }

  /** `signal`: ends the wait for room. */
  async #open(signal?: AbortSignal): Promise<EntryWriter> {
    const { head: whole, md5 } = this.#whole;
    const head: EntryHead = {
      ...whole,
      // The same for a stream that the sidecar sends again, since the queue had died before its answer.
      id: uuidv5(String(this.#number), whole.id),
      url: segmentUrl(whole.url, this.#segmenting.name, this.#number),
      // A rule for the stream is one for its segments.
      judgedPath: whole.judgedPath ?? this.#arrival.path.split('?', 1)[0]!,
      // They are sent in their order even where the destination keeps none.
      orderKey: whole.orderKey || whole.id,
      headers: [
        ...whole.headers,
        ...this.#header(STREAM_HEADER, whole.id),
        ...this.#header(SEGMENT_HEADER, this.#number),
      ],
      receivedAt: Date.now(),
    };
    this.#writer = await this.#around.room.begin(this.#arrival.destination, head, undefined, {
      md5,
      ...(signal && { signal }),
    });
    this.#timer = setTimeout(() => {
      this.#next(async () => {
        if (this.#writer?.head === head) await this.#commit();
      }).catch((failure) => {
        this.#failure = failure;
      });
    }, timerMs(this.#segmenting.time));
    return this.#writer;
  }

  async #commit(end?: End): Promise<Entry> {
    clearTimeout(this.#timer);
    const writer = this.#writer!;
    this.#writer = undefined;
    // The head is written with the commit: what is known only now can still be said in it.
    if (end) writer.head.headers.push(...this.#header(STREAM_END_HEADER, end));
    const entry = await writer.commit(end === 'whole' ? this.#arrival.request.rawTrailers : []);
    this.#number += 1;
    return entry;
  }
}

/** Rejects with ClientDisconnected, and with the errors of `whole.read` and of the store. What was committed before
 *  stays, either way. */
export async function storeSegments(
  around: Surroundings,
  arrival: Arrival,
  whole: Filing,
  segmenting: Segmenting,
): Promise<Outcome> {
  const { backlog, ledgers } = around;
  const { response, destination, failedOver } = arrival;
  const storing = backlog.storing(destination.name, failedOver);
  const stored = ledgers.of(destination.name).gate.commit(whole.head.orderKey);
  const stream = new Stream(around, arrival, whole, segmenting);
  try {
    // Segments are committed as they fill.
    await storing.marked();
    await whole.read((piece) => stream.write(piece));
    const last = await stream.end('whole');
    await storing.held();
    whole.receipt(response, last);
    return 'receipt';
  } catch (error) {
    if (error instanceof ClientDisconnected) await stream.end('torn').catch(() => {});
    throw error;
  } finally {
    await stream.abort();
    stored();
    storing.done();
  }
}
