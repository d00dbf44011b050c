// A large object, in parts. The states of an upload, each known from what is written down (begun.ts) and what S3 says:
//
//   none       → CreateMultipartUpload, written down                                     → sending
//   sending    → the parts that are missing, each written down when it is answered; of a
//                body that still grows each when it is full                              → completing
//                after a cut or a kill -9 ListParts first: it settles parts whose answer was lost
//   completing → CompleteMultipartUpload; 200 with a result                              → delivered
//                the answer is lost                                                      → sending, at the next try
//                400: what S3 has does not fit together. Once the upload is aborted     → none, then a dead letter
//                the body has outgrown 10,000 parts of their size. Once it is aborted    → none
//                409: another upload of the key ended meanwhile. Tried again; twice, and the upload is aborted → none
//   gone       → S3 knows no such upload. HEAD: it is there and ours                     → delivered
//                else a lifecycle rule, or somebody, removed it                          → none
//
// So the body is sent again only where S3 has lost it.

import { createHash } from 'node:crypto';
import { crc32c } from '@node-rs/crc32';
import type { Destination } from '../../../policy/policy.ts';
import { messageOf } from '../../../telemetry/error.ts';
import { headerOf } from '../../../wire/headers.ts';
import { WayLost } from '../ask.ts';
import type { Result, Strategy, Try } from '../deliver.ts';
import { beginOnce, OutgoingBody } from '../outgoing-body.ts';
import { destinationAt, placeOf } from '../place.ts';
import { suspicious } from '../portal.ts';
import { abortUpload, type Begun, isBegun } from './begun.ts';
import { answeredBy, refusedBy, type S3Answer, S3Calls } from './calls.ts';
import { base64Of, combine } from './crc32c.ts';
import { abortHeaders, completeHeaders, createHeaders, partHeaders } from './headers.ts';
import { isGone, listParts } from './list-parts.ts';
import { delivered } from './object-answer.ts';
import { outcomeOfS3, statusOf } from './outcome.ts';
import { growingPartSize, isOutgrown, type PartRange, partSizeFor, partsAtOnce, partsOf } from './plan.ts';
import { negativeDoubt, positiveDoubt, unquotedEtag } from './plausible.ts';
import { type Expected, etagOfParts, recognise } from './recognise.ts';
import { redirectIn, targetOf, wordsOf } from './redirect.ts';
import { completedIn, completeXml, uploadIdIn } from './xml.ts';

/** An upload that vanishes again and again within one try is left to the next. */
const ROUNDS = 3;
/** A body that S3 refuses to put together twice is refused for good. */
const RESTARTS = 1;

/** Ends the try with this result. */
class Ended extends Error {
  readonly result: Result;
  constructor(result: Result) {
    super(result.words);
    this.result = result;
  }
}

/** S3 will not make an object of what it has. */
class UploadSpoiled extends Error {}

/** The body has more parts than S3 takes. */
class UploadOutgrown extends Error {}

/** S3 knows no such upload. */
class UploadGone extends Error {}

const again = (answer: S3Answer, words: string, moved: number): Result => ({
  ...answeredBy(answer, moved),
  outcome: 'retry',
  words,
});

export const deliverInParts: Strategy = (attempt) => new Upload(attempt).run();

class Upload {
  readonly #attempt: Try;
  readonly #begin: () => void;
  #calls: S3Calls;
  /** Body bytes that S3 has taken in this try. */
  #moved = 0;
  #restarts = 0;
  /** Until S3 has taken a part in this try. */
  #expect: boolean;

  constructor(attempt: Try) {
    this.#attempt = attempt;
    this.#expect = attempt.expect ?? false;
    this.#begin = beginOnce(attempt);
    this.#calls = this.#callsTo(attempt.destination);
  }

  #callsTo(destination: Destination): S3Calls {
    const { egress, entry } = this.#attempt;
    return new S3Calls(egress, destination, entry, this.#attempt);
  }

  async run(): Promise<Result> {
    try {
      for (let round = 0; round < ROUNDS; round++) {
        let begun: Begun | undefined;
        try {
          begun = await this.#resume();
          begun ??= await this.#create();
          await this.#send(begun);
          return await this.#complete(begun);
        } catch (error) {
          if (error instanceof UploadGone) await this.#settle(begun);
          else if (error instanceof UploadSpoiled && begun) await this.#restart(begun, begun.restarts + 1);
          else if (error instanceof UploadOutgrown && begun) await this.#restart(begun, begun.restarts);
          else throw error;
        }
      }
      const words = 'the upload vanished at the destination again and again';
      return { kind: 'answered', outcome: 'retry', status: 404, words, moved: this.#moved };
    } catch (error) {
      if (error instanceof Ended) return error.result;
      if (error instanceof WayLost) return { kind: 'no-link', words: error.message, moved: this.#moved };
      throw error;
    }
  }

  async #note(begun: Begun | undefined): Promise<void> {
    const { store, entry } = this.#attempt;
    await store.setProgress(entry.id, begun);
  }

  // none

  async #create(): Promise<Begun> {
    const { entry, body, goodput } = this.#attempt;
    const kept = createHeaders(entry.headers, entry.id);
    const sums = ['x-amz-checksum-algorithm', 'CRC32C', 'x-amz-checksum-type', 'FULL_OBJECT'];
    const create = (headers: string[]) =>
      this.#calls.call({ method: 'POST', query: { uploads: '' }, headers });
    this.#begin();
    let answer = await create([...kept, ...sums]);
    const redirect = redirectIn(answer.status, answer.headers, answer.error);
    if (redirect) {
      const target = targetOf(redirect, this.#attempt.destination, this.#attempt.destinations);
      if (!target) throw new Ended({ ...refusedBy(answer), words: wordsOf(redirect) });
      this.#calls = this.#callsTo(target);
      answer = await create([...kept, ...sums]);
    }
    // A server that does not know these checksums may refuse them.
    if (answer.status === 400 || answer.status === 501) answer = await create(kept);
    const uploadId = answer.status === 200 ? uploadIdIn(answer.text) : undefined;
    if (uploadId === undefined) throw this.#ended(answer);
    const { bytes, length } = body;
    const partSize =
      length === undefined ? growingPartSize(bytes, goodput.rate) : partSizeFor(length, goodput.rate);
    const begun: Begun = {
      kind: 's3-multipart',
      ...placeOf(this.#calls.destination),
      url: entry.url,
      uploadId,
      partSize: partSize ?? bytes,
      crc32c: headerOf(answer.headers, 'x-amz-checksum-type')?.toUpperCase() === 'FULL_OBJECT',
      headers: abortHeaders(entry.headers),
      restarts: this.#restarts,
      parts: {},
    };
    await this.#note(begun);
    return begun;
  }

  // sending

  async #resume(): Promise<Begun | undefined> {
    const { store, entry, destination, destinations } = this.#attempt;
    const progress = await store.progress(entry.id);
    if (!isBegun(progress)) return undefined;
    const named = [...destinations, destination].find(({ name }) => name === progress.destination);
    const there = named && destinationAt(named, progress);
    const own = progress.destination === destination.name;
    // An operator may have changed the URL, or the policy: what was begun elsewhere is of no use, and may not be reached.
    if (!there || progress.url !== entry.url || (own && progress.upstream !== destination.upstream.name)) {
      const { egress, signal } = this.#attempt;
      if (there) await abortUpload(egress, there, entry.id, progress, signal);
      await this.#note(undefined);
      return undefined;
    }
    this.#calls = this.#callsTo(own ? destination : there);
    const begun = { ...progress, parts: { ...progress.parts } };
    await this.#reconcile(begun);
    return begun;
  }

  /** Those that are there. */
  #parts({ partSize }: Begun): PartRange[] {
    const { bytes, whole } = this.#attempt.body;
    return partsOf(whole ? bytes : bytes - (bytes % partSize), partSize);
  }

  /** Makes what we know agree with what S3 has. */
  async #reconcile(begun: Begun): Promise<void> {
    const listed = await listParts(this.#calls, begun.uploadId, partHeaders(this.#attempt.entry.headers));
    if (listed === 'gone') throw new UploadGone();
    if (listed && 'status' in listed) throw this.#ended(listed);
    if (!listed) return;
    const has = new Map(listed.map((part) => [part.number, part]));
    let changed = false;
    for (const part of this.#parts(begun)) {
      const known = begun.parts[part.number];
      const theirs = has.get(part.number);
      if (known && theirs?.etag === known[0]) continue;
      changed = true;
      delete begun.parts[part.number];
      if (!theirs || theirs.bytes !== part.end - part.start) continue;
      const sums = await this.#sums(part, true);
      // An ETag that is no MD5 says nothing: without a checksum the part is sent again.
      if (theirs.etag === sums.md5 || theirs.crc32c === base64Of(sums.crc))
        begun.parts[part.number] = [theirs.etag, begun.crc32c ? sums.crc : sums.md5];
    }
    if (changed) await this.#note(begun);
  }

  async #sums({ start, end }: PartRange, md5: boolean): Promise<{ crc: number; md5: string }> {
    const hash = createHash('md5');
    let crc = 0;
    for await (const piece of this.#attempt.body.read({ start, end })) {
      crc = crc32c(piece, crc);
      if (md5) hash.update(piece);
    }
    return { crc, md5: hash.digest('hex') };
  }

  async #send(begun: Begun): Promise<void> {
    const { body, goodput, signal } = this.#attempt;
    const { partSize } = begun;
    const running = new Set<Promise<void>>();
    /** Of those the ones whose body is still on its way out. The others wait for their answer, and the way would be idle meanwhile. */
    const sending = new Set<Promise<void>>();
    let failure: { error: unknown } | undefined;
    let grown: Promise<void> | undefined;
    for (let number = 1; ; ) {
      while (begun.parts[number]) number += 1;
      const start = (number - 1) * partSize;
      const { bytes, whole } = body;
      if (isOutgrown(bytes, partSize)) failure ??= { error: new UploadOutgrown() };
      const done = failure !== undefined || (whole && start >= bytes);
      // After a failure what is under way may still arrive, and is then not sent again.
      if (done && running.size === 0) break;
      const end = whole ? Math.min(bytes, start + partSize) : start + partSize;
      const atOnce = partsAtOnce(partSize, goodput.rate);
      const free = !done && sending.size < atOnce && running.size <= atOnce;
      if (free && end <= bytes) {
        const { promise, resolve: out } = Promise.withResolvers<void>();
        const isOut = promise.then(() => void sending.delete(isOut));
        sending.add(isOut);
        const beside = () => Math.min(running.size, partsAtOnce(partSize, goodput.rate)) - 1;
        const sent = this.#sendPart(begun, { number, start, end }, beside, out)
          .catch((error: unknown) => {
            failure ??= { error };
          })
          .finally(() => {
            out();
            running.delete(sent);
          });
        running.add(sent);
        number += 1;
        continue;
      }
      if (free)
        grown ??= body
          .reaches(end, signal)
          .catch((error) => {
            failure ??= { error: new WayLost(messageOf(error)) };
          })
          .finally(() => {
            grown = undefined;
          });
      await Promise.race([...running, ...sending, ...(free ? [grown] : [])]);
    }
    if (failure) throw failure.error;
  }

  /** `out`: told when all of its body is on its way, at the latest. */
  async #sendPart(begun: Begun, part: PartRange, beside: () => number, out: () => void): Promise<void> {
    const { goodput, entry } = this.#attempt;
    const { crc, md5 } = await this.#sums(part, !begun.crc32c);
    const outgoing = new OutgoingBody(this.#attempt, part, this.#begin);
    const bytes = part.end - part.start;
    const began = performance.now();
    let answer: S3Answer;
    try {
      answer = await this.#calls.call({
        method: 'PUT',
        query: { partNumber: part.number, uploadId: begun.uploadId },
        headers: [
          ...partHeaders(entry.headers),
          ...(begun.crc32c
            ? ['x-amz-checksum-crc32c', base64Of(crc)]
            : ['content-md5', Buffer.from(md5, 'hex').toString('base64')]),
        ],
        body: { bytes, pieces: followedBy(outgoing.pieces(), out) },
        expect: this.#expect,
      });
    } catch (error) {
      if (outgoing.damage) throw outgoing.damage;
      this.#moved += outgoing.moved;
      throw error;
    }
    if (isGone(answer)) throw new UploadGone();
    if (answer.status !== 200 || answer.error) throw this.#ended(answer);
    const call = { method: 'PUT', url: `?partNumber=${part.number}`, headers: [] };
    const doubt = positiveDoubt(call, answer, begun.crc32c ? undefined : md5);
    if (doubt !== undefined) throw new Ended(suspicious(answer, doubt));
    const etag = unquotedEtag(answer.headers);
    this.#expect = false;
    this.#moved += bytes;
    goodput.note(bytes, performance.now() - began, beside());
    begun.parts[part.number] = [etag, begun.crc32c ? crc : md5];
    await this.#note(begun);
  }

  // completing

  async #complete(begun: Begun): Promise<Result> {
    const { entry, body } = this.#attempt;
    const expected = this.#expected(begun);
    const xml = Buffer.from(
      completeXml(
        this.#parts(begun).map(({ number }) => {
          const [etag, sum] = begun.parts[number]!;
          return { number, etag, crc32c: typeof sum === 'number' ? base64Of(sum) : undefined };
        }),
      ),
    );
    const said = await this.#calls.call({
      method: 'POST',
      query: { uploadId: begun.uploadId },
      headers: [
        ...completeHeaders(entry.headers),
        ...['content-type', 'application/xml', 'x-amz-mp-object-size', String(body.bytes)],
        ...(expected.crc32c === undefined
          ? []
          : ['x-amz-checksum-crc32c', expected.crc32c, 'x-amz-checksum-type', 'FULL_OBJECT']),
      ],
      body: { bytes: xml.length, pieces: one(xml) },
    });
    const answer = { ...said, status: statusOf(said.status, said.error) };
    if (isGone(answer)) throw new UploadGone();
    const doubt = negativeDoubt(answer, answer.error !== undefined);
    if (doubt !== undefined) throw new Ended(suspicious(answer, doubt));
    if (answer.status === 412) return this.#refused(answer, expected);
    if (answer.status === 400 && outcomeOfS3(400, answer.error) === 'dead' && begun.restarts < RESTARTS)
      throw new UploadSpoiled();
    if (answer.error?.code === 'ConditionalRequestConflict') return this.#conflict(begun, answer);
    if (answer.status !== 200) throw this.#ended(answer);
    if (!answer.whole) throw new WayLost('the answer to CompleteMultipartUpload broke off');
    const completed = completedIn(answer.text);
    if (!completed) throw this.#ended(answer);
    if (
      expected.crc32c !== undefined &&
      completed.crc32c !== undefined &&
      completed.crc32c !== expected.crc32c
    ) {
      await this.#note(undefined);
      return again(answer, `S3 has CRC32C ${completed.crc32c}, sent was ${expected.crc32c}`, this.#moved);
    }
    return delivered(this.#moved, completed.etag, answer.headers);
  }

  #expected(begun: Begun): Expected {
    const parts = this.#parts(begun);
    const known = parts.flatMap(({ number }) => (begun.parts[number] ? [begun.parts[number]] : []));
    if (known.length < parts.length) return {};
    let whole = 0;
    for (const { number, start, end } of parts)
      if (begun.crc32c) whole = combine(whole, begun.parts[number]![1] as number, end - start);
    return {
      etag: etagOfParts(known.map(([etag]) => etag)),
      crc32c: begun.crc32c ? base64Of(whole) : undefined,
    };
  }

  /** S3 says to begin anew. Often the same upload can be completed a moment later, and then nothing is sent again. */
  async #conflict(begun: Begun, answer: S3Answer): Promise<Result> {
    const { egress, entry, signal } = this.#attempt;
    if (begun.conflicted) await abortUpload(egress, this.#calls.destination, entry.id, begun, signal);
    await this.#note(begun.conflicted ? undefined : { ...begun, conflicted: true });
    return refusedBy(answer, this.#moved);
  }

  /** If-None-Match, If-Match: our own object may be what stands in the way. */
  async #refused(answer: S3Answer, expected: Expected): Promise<Result> {
    const found = await recognise(this.#calls, this.#attempt, expected);
    if (found === 'ours') return delivered(this.#moved, expected.etag);
    if (typeof found !== 'string') throw this.#ended(found);
    return refusedBy(answer, this.#moved);
  }

  // gone

  /** Ends the try where the object is there and ours; else nothing is begun any more. */
  async #settle(begun: Begun | undefined): Promise<void> {
    const { store, entry, body } = this.#attempt;
    const known = begun ?? (await store.progress(entry.id));
    // What still grows was not completed.
    if (!body.whole) return this.#note(undefined);
    const expected = isBegun(known) ? this.#expected(known) : {};
    const found = await recognise(this.#calls, this.#attempt, expected);
    if (found === 'ours') throw new Ended(delivered(this.#moved, expected.etag));
    if (typeof found !== 'string') throw this.#ended(found);
    await this.#note(undefined);
  }

  async #restart(begun: Begun, restarts: number): Promise<void> {
    const { egress, entry, signal } = this.#attempt;
    await abortUpload(egress, this.#calls.destination, entry.id, begun, signal);
    this.#restarts = restarts;
    await this.#note(undefined);
  }

  #ended(answer: S3Answer): Ended {
    return new Ended(refusedBy(answer, this.#moved));
  }
}

async function* followedBy(pieces: AsyncGenerator<Buffer>, over: () => void): AsyncGenerator<Buffer> {
  yield* pieces;
  over();
}

async function* one(piece: Buffer): AsyncGenerator<Buffer> {
  yield piece;
}
