// A large upload to a destination that speaks the IETF's resumable uploads (draft-ietf-httpbis-resumable-upload-12, interop version 8):
// the app sends one plain request, and it goes on where it was.
//
//   none     → the app's own request with Upload-Complete: ?1. A destination that does not speak it takes it as it is → delivered
//              104 says where the upload is, written down at once                                                     → sending
//              a try failed and there was no 104: OPTIONS asks whether it is spoken. Where it is, the request goes
//              without a body, Upload-Complete: ?0; the answer says where the upload is                               → sending
//   sending  → HEAD says what is there; PATCHes with the rest, none longer than Upload-Limit allows                   → delivered
//   gone     → the destination knows no such upload                                                                   → none
//
// Before 104 or OPTIONS have said so nobody knows that it is spoken, and a request without a body would be taken for an empty one.

import type { RequestSender } from '../../egress/egress.ts';
import type { Destination } from '../../policy/policy.ts';
import type { EntryHead } from '../../store/store.ts';
import { headerOf } from '../../wire/headers.ts';
import { outcomeOf, retryAfterMs } from '../outcome.ts';
import { ANSWER_KEPT } from './answer-text.ts';
import { ask, WayLost, type WholeAnswer } from './ask.ts';
import type { Result, Strategy, Try } from './deliver.ts';
import { resultOf as resultOfHttp } from './http.ts';
import { keptAnswer } from './kept-answer.ts';
import { beginOnce, OutgoingBody } from './outgoing-body.ts';
import { type Place, placeOf } from './place.ts';
import { isHtmlPage, isHtmlType, portalSign, suspicious } from './portal.ts';
import { uploadPath } from './upload-place.ts';

/** Of an answer in words, characters. */
const WORDS = 500;
const INTEROP = '8';
const VERSION = ['upload-draft-interop-version', INTEROP];
const PARTIAL = 'application/partial-upload';
/** What says something of the representation or of its first request, and nothing of a piece of it. */
const OF_THE_WHOLE = /^(content-.*|repr-digest|want-.*|digest|expect|if-.*)$/i;
/** Said of a body that is not there yet. */
const OF_THE_BODY = /^(content-length|content-md5|content-digest|expect)$/i;

export interface IetfBegun extends Place {
  kind: 'ietf';
  /** What the app called. */
  url: string;
  /** Path and query of the upload, as an app would call it. */
  upload: string;
}

export const isIetfBegun = (progress: unknown): progress is IetfBegun =>
  typeof progress === 'object' && progress !== null && (progress as IetfBegun).kind === 'ietf';

/** A non-negative integer of a structured header; parameters are let be. */
export const integerOf = (value: string | undefined): number | undefined => {
  const match = /^\s*(\d{1,15})\s*(;.*)?$/.exec(value ?? '');
  return match ? Number(match[1]) : undefined;
};

/** The most that one PATCH may hold, bytes. */
export const appendLimit = (uploadLimit: string | undefined): number => {
  const limit = Number(
    /(?:^|,)\s*max-append-size=(\d{1,15})\s*(?:;[^,]*)?(?:,|$)/.exec(uploadLimit ?? '')?.[1],
  );
  return limit > 0 ? limit : Number.POSITIVE_INFINITY;
};

const without = (headers: readonly string[], unwanted: RegExp): string[] =>
  headers.filter((_, at) => !unwanted.test(headers[at - (at % 2)]!));

const isComplete = ({ headers }: WholeAnswer): boolean =>
  /^\s*\?1/.test(headerOf(headers, 'upload-complete') ?? '');

const answeredBy = (answer: WholeAnswer, moved = 0): Result & { kind: 'answered' } => ({
  ...{ kind: 'answered', outcome: outcomeOf(answer.status), status: answer.status, moved },
  ...{ words: answer.text.slice(0, WORDS), retryAfter: retryAfterMs(answer.headers) },
  answer: keptAnswer(answer.status, answer.headers, answer.text.slice(0, ANSWER_KEPT)),
});

/** The answer is one of this protocol. */
const isMarked = ({ headers }: WholeAnswer): boolean =>
  ['upload-complete', 'upload-offset', 'upload-draft-interop-version', 'upload-limit'].some(
    (name) => headerOf(headers, name) !== undefined,
  );

/** Why an answer about an upload is none of the server's; undefined: it may be. */
function doubtOf(destination: Destination, answer: WholeAnswer): string | undefined {
  const { status, headers } = answer;
  if (isMarked(answer)) return undefined;
  const page = status < 500 && (isHtmlPage(answer) || isHtmlType(headers));
  return (
    portalSign(destination, answer) ??
    (page ? `the answer about the upload is a page (${status}, text/html); a captive portal?` : undefined)
  );
}

export const deliverByIetf: Strategy = (attempt) => new Upload(attempt).run();

class Upload {
  readonly #attempt: Try;
  readonly #begin: () => void;
  /** Body bytes that were taken in this try. */
  #moved = 0;

  constructor(attempt: Try) {
    this.#attempt = attempt;
    this.#begin = beginOnce(attempt);
  }

  async run(): Promise<Result> {
    const { store, entry, destination } = this.#attempt;
    try {
      const known = await store.progress(entry.id);
      // An operator may have changed the URL, or the policy where it goes.
      const same =
        isIetfBegun(known) && known.url === entry.url && known.upstream === destination.upstream.name;
      const begun = same ? known : undefined;
      const went = begun && (await this.#goOn(begun));
      if (went) return went;
      if (!begun && this.#attempt.tried && (await this.#isSpoken())) return await this.#create();
      return await this.#whole();
    } catch (error) {
      if (error instanceof WayLost) return { kind: 'no-link', words: error.message, moved: this.#moved };
      throw error;
    }
  }

  /** `end`: exclusive; with it a range of the body goes along. */
  async #ask(
    method: string,
    url: string,
    headers: readonly string[],
    range?: { start: number; end: number; onInterim?: (status: number, headers: string[]) => void },
  ): Promise<WholeAnswer> {
    const { egress, destination, entry, signal, goodput, expect = false } = this.#attempt;
    const head: EntryHead = { ...entry, method, url, headers: [...headers, ...VERSION] };
    if (!range || range.start === range.end) return ask(egress, destination, head, { signal });
    const bytes = range.end - range.start;
    const body = new OutgoingBody(this.#attempt, range, this.#begin);
    const since = performance.now();
    try {
      const outgoing = { bytes, pieces: body.pieces() };
      const { onInterim } = range;
      const answer = await ask(
        egress,
        destination,
        head,
        { signal, expect, ...(onInterim && { onInterim }) },
        outgoing,
      );
      if (answer.status < 300) goodput.note(bytes, performance.now() - since);
      return answer;
    } catch (error) {
      throw body.damage ?? error;
    } finally {
      this.#moved += body.moved;
    }
  }

  #at(upload: string): string {
    return `http://${this.#attempt.destination.name}${upload}`;
  }

  // none

  async #whole(): Promise<Result> {
    const { entry, body, destination } = this.#attempt;
    let noted: Promise<unknown> | undefined;
    const onInterim = (status: number, headers: string[]): void => {
      const version = headerOf(headers, 'upload-draft-interop-version');
      if (status !== 104 || noted || version !== INTEROP) return;
      const begun = this.#begun(headers);
      // Where it cannot be written down the upload is one that does not go on: no reason to end it.
      if (begun) noted = this.#note(begun).catch(() => {});
    };
    try {
      const complete = ['upload-complete', '?1', 'upload-length', String(body.bytes)];
      const range = { start: 0, end: body.bytes, onInterim };
      const answer = await this.#ask(entry.method, entry.url, [...entry.headers, ...complete], range);
      await noted;
      if (isMarked(answer)) return await this.#settled(answer);
      const result = resultOfHttp(destination, entry, { ...answer, text: answer.text.slice(0, ANSWER_KEPT) });
      return result.kind === 'no-link' ? result : { ...result, moved: this.#moved };
    } finally {
      await noted;
    }
  }

  async #isSpoken(): Promise<boolean> {
    const { entry } = this.#attempt;
    const answer = await this.#ask('OPTIONS', entry.url, without(entry.headers, OF_THE_WHOLE));
    return (
      outcomeOf(answer.status) === 'delivered' &&
      (headerOf(answer.headers, 'accept-patch') ?? '').includes(PARTIAL)
    );
  }

  async #create(): Promise<Result> {
    const { entry, body } = this.#attempt;
    const headers = [
      ...without(entry.headers, OF_THE_BODY),
      'upload-complete',
      '?0',
      'upload-length',
      String(body.bytes),
    ];
    const answer = await this.#ask(entry.method, entry.url, headers);
    const doubt = this.#doubt(answer);
    if (doubt) return doubt;
    if (outcomeOf(answer.status) !== 'delivered') return answeredBy(answer);
    const begun = this.#begun(answer.headers);
    if (!begun && !isMarked(answer) && headerOf(answer.headers, 'location') === undefined)
      return suspicious(answer, `the answer (${answer.status}) has no upload in it; a captive portal?`);
    if (!begun) {
      const where = headerOf(answer.headers, 'location') ?? '(not said)';
      const words = `the upload is at ${where}, which is not at the upstream of this destination`;
      return { ...answeredBy(answer), outcome: 'dead', words };
    }
    await this.#note(begun);
    return this.#append(begun, 0, appendLimit(headerOf(answer.headers, 'upload-limit')));
  }

  #begun(headers: string[]): IetfBegun | undefined {
    const { destination, entry } = this.#attempt;
    const upload = uploadPath(destination, entry.url, headerOf(headers, 'location'));
    if (upload === undefined) return undefined;
    return { kind: 'ietf', ...placeOf(destination), url: entry.url, upload };
  }

  #note(begun: IetfBegun | undefined): Promise<unknown> {
    return this.#attempt.store.setProgress(this.#attempt.entry.id, begun);
  }

  // sending

  /** undefined: it is gone. */
  async #goOn(begun: IetfBegun): Promise<Result | undefined> {
    const { entry, body } = this.#attempt;
    const answer = await this.#ask('HEAD', this.#at(begun.upload), without(entry.headers, OF_THE_WHOLE));
    const doubt = this.#doubt(answer);
    if (doubt) return doubt;
    if (answer.status === 404 || answer.status === 410) return undefined;
    if (outcomeOf(answer.status) !== 'delivered') return answeredBy(answer);
    if (isComplete(answer)) return answeredBy(answer);
    if (!isMarked(answer))
      return suspicious(
        answer,
        `the answer (${answer.status}) says nothing of the upload; a captive portal?`,
      );
    const offset = integerOf(headerOf(answer.headers, 'upload-offset'));
    if (offset === undefined || offset > body.bytes) {
      await this.#note(undefined);
      const words = `the upload has an offset of ${offset ?? '(not said)'}, the entry ${body.bytes} bytes: it begins anew`;
      return { ...answeredBy(answer), outcome: 'retry', words };
    }
    return this.#append(begun, offset, appendLimit(headerOf(answer.headers, 'upload-limit')));
  }

  async #append(begun: IetfBegun, from: number, limit: number): Promise<Result> {
    const { entry, body } = this.#attempt;
    const kept = without(entry.headers, OF_THE_WHOLE);
    for (let start = from; ; ) {
      const end = Math.min(body.bytes, start + limit);
      const last = end === body.bytes;
      const headers = [
        'upload-complete',
        last ? '?1' : '?0',
        'upload-offset',
        String(start),
        'content-type',
        PARTIAL,
      ];
      const answer = await this.#ask('PATCH', this.#at(begun.upload), [...kept, ...headers], { start, end });
      const doubt = this.#doubt(answer);
      if (doubt) return doubt;
      const taken = outcomeOf(answer.status) === 'delivered';
      if (!taken || last) return this.#settled(answer, true);
      start = end;
    }
  }

  #doubt(answer: WholeAnswer): Result | undefined {
    const reason = doubtOf(this.#attempt.destination, answer);
    return reason === undefined ? undefined : suspicious(answer, reason);
  }

  /** `appended`: the answer is the upload's own, where it does not say that all of it was there. */
  async #settled(answer: WholeAnswer, appended = false): Promise<Result> {
    const result = answeredBy(answer, this.#moved);
    if (isComplete(answer)) {
      // It is all there, and what the destination made of it is the answer: going on would not change it.
      if (result.outcome !== 'delivered') await this.#note(undefined);
      return result;
    }
    const tooLong = answer.status === 413 && headerOf(answer.headers, 'upload-limit') !== undefined;
    const disagrees = appended && [404, 409, 410, 423].includes(answer.status);
    const isOpen = /^\s*\?0/.test(headerOf(answer.headers, 'upload-complete') ?? '');
    const open = (appended || isOpen) && result.outcome === 'delivered';
    return tooLong || disagrees || open ? { ...result, outcome: 'retry' } : result;
  }
}

/** Rejects with WayLost. `gone`: nothing is left of it, or it cannot be taken back. */
export async function abortIetf(
  egress: RequestSender,
  destination: Destination,
  id: string,
  { upload }: IetfBegun,
  signal: AbortSignal,
): Promise<{ gone: boolean; status: number }> {
  const head: EntryHead = {
    ...{ id, url: `http://${destination.name}${upload}`, destination: destination.name, method: 'DELETE' },
    ...{ headers: VERSION, orderKey: '', class: 0, receivedAt: 0 },
  };
  const answer = await ask(egress, destination, head, { signal });
  const { status } = answer;
  // A portal's answer takes nothing back.
  return { gone: doubtOf(destination, answer) === undefined && outcomeOf(status) !== 'retry', status };
}
