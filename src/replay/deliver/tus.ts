// A large POST to a destination that speaks tus 1.0 (https://tus.io/protocols/resumable-upload): the app sends one plain POST, and it is
// an upload that goes on where it was.
//
//   none      → POST without a body, Upload-Length; 201 and where the upload is, written down → sending
//   sending   → PATCH with the rest; after a cut or a crash HEAD first: it says what is there → delivered
//   gone      → the destination knows no such upload                                         → none
//
// The offset is the destination's word, so nothing but the place of the upload has to be written down.

import type { RequestSender } from '../../egress/egress.ts';
import type { Destination } from '../../policy/policy.ts';
import type { EntryHead } from '../../store/store.ts';
import { headerOf } from '../../wire/headers.ts';
import { outcomeOf, retryAfterMs } from '../outcome.ts';
import { ANSWER_KEPT } from './answer-text.ts';
import { ask, WayLost, type WholeAnswer } from './ask.ts';
import type { Result, Strategy } from './deliver.ts';
import { keptAnswer } from './kept-answer.ts';
import { beginOnce, OutgoingBody } from './outgoing-body.ts';
import { type Place, placeOf } from './place.ts';
import { isHtmlPage, isHtmlType, portalSign, suspicious } from './portal.ts';
import { uploadPath } from './upload-place.ts';

const VERSION = ['tus-resumable', '1.0.0'];
/** What says nothing of the upload as a whole. */
const OF_THE_BODY = /^(content-length|content-type|content-md5|expect)$/i;

export interface TusBegun extends Place {
  kind: 'tus';
  /** What the app called. */
  url: string;
  /** Path and query of the upload, as an app would call it. */
  upload: string;
}

export const isTusBegun = (progress: unknown): progress is TusBegun =>
  typeof progress === 'object' && progress !== null && (progress as TusBegun).kind === 'tus';

/** Content-Type, as tus has it; what the app says in Upload-Metadata itself stays. */
function metadataOf(headers: readonly string[]): string[] {
  const type = headerOf(headers, 'content-type');
  if (type === undefined || headerOf(headers, 'upload-metadata') !== undefined) return [];
  return ['upload-metadata', `filetype ${Buffer.from(type).toString('base64')}`];
}

const answeredBy = (
  { status, headers, text }: WholeAnswer,
  moved: number,
): Result & { kind: 'answered' } => ({
  ...{ kind: 'answered', outcome: outcomeOf(status), status, words: text.slice(0, ANSWER_KEPT), moved },
  ...{ retryAfter: retryAfterMs(headers), answer: keptAnswer(status, headers, text.slice(0, ANSWER_KEPT)) },
});

/** A server that speaks tus says its version in each answer, also in refusals. */
const isMarked = ({ headers }: WholeAnswer): boolean =>
  headerOf(headers, 'tus-resumable') !== undefined || headerOf(headers, 'tus-version') !== undefined;

/** The result of an answer that is not the one that the protocol wants. A 2xx is none of a tus server's: nothing is delivered by it. */
function refusedBy(destination: Destination, answer: WholeAnswer, moved: number): Result {
  const { status } = answer;
  const page = status < 500 && !isMarked(answer) && (isHtmlPage(answer) || isHtmlType(answer.headers));
  const doubt =
    portalSign(destination, answer) ??
    (status < 300 || page
      ? `the answer does not look like that of a tus server: ${status}${page ? ' with text/html' : ''}; a captive portal?`
      : undefined);
  return doubt === undefined ? answeredBy(answer, moved) : suspicious(answer, doubt);
}

/** 403 is for servers that have it expired (tus, Expiration). */
const isGone = (answer: WholeAnswer): boolean =>
  [403, 404, 410].includes(answer.status) && (isMarked(answer) || !isHtmlType(answer.headers));

/** Upload-Offset, bytes; undefined: it is missing, no number, or beyond the body. */
const offsetIn = ({ headers }: WholeAnswer, bytes: number): number | undefined => {
  const said = headerOf(headers, 'upload-offset')?.trim() ?? '';
  return /^\d{1,15}$/.test(said) && Number(said) <= bytes ? Number(said) : undefined;
};

export const deliverByTus: Strategy = async (attempt) => {
  const { store, entry, body, destination, goodput, signal, egress, expect = false } = attempt;
  const kept = entry.headers.filter((_, at) => !OF_THE_BODY.test(entry.headers[at - (at % 2)]!));
  const to = (method: string, url: string, headers: string[], outgoing?: OutgoingBody, bytes = 0) => {
    const head: EntryHead = { ...entry, method, url, headers: [...kept, ...VERSION, ...headers] };
    return ask(
      egress,
      destination,
      head,
      { signal, expect },
      outgoing && { bytes, pieces: outgoing.pieces() },
    );
  };
  const at = (path: string): string => `http://${destination.name}${path}`;
  let moved = 0;
  try {
    const known = await store.progress(entry.id);
    const same = isTusBegun(known) && known.url === entry.url && known.upstream === destination.upstream.name;
    let begun = same ? known : undefined;
    let offset = 0;
    if (begun) {
      const answer = await to('HEAD', at(begun.upload), []);
      const there = answer.status < 300 ? offsetIn(answer, body.bytes) : undefined;
      if (isGone(answer)) begun = undefined;
      else if (answer.status < 300 && there === undefined && isMarked(answer)) {
        await store.setProgress(entry.id, undefined);
        const words = `the upload has no offset within the ${body.bytes} bytes of the entry: it starts again`;
        return { ...answeredBy(answer, 0), outcome: 'retry', words };
      } else if (there === undefined) return settled(refusedBy(destination, answer, 0));
      offset = there ?? 0;
    }
    if (!begun) {
      const answer = await to('POST', entry.url, [
        'upload-length',
        String(body.bytes),
        ...metadataOf(entry.headers),
      ]);
      if (answer.status !== 201) return refusedBy(destination, answer, 0);
      const upload = uploadPath(destination, entry.url, headerOf(answer.headers, 'location'));
      const isAnothers = !isMarked(answer) && headerOf(answer.headers, 'location') === undefined;
      if (isAnothers) return refusedBy(destination, answer, 0);
      if (upload === undefined) return nowhere(answer);
      begun = { kind: 'tus', ...placeOf(destination), url: entry.url, upload };
      await store.setProgress(entry.id, begun);
      offset = 0;
    }
    if (offset === body.bytes) return { kind: 'answered', outcome: 'delivered', status: 200, words: '' };
    const outgoing = new OutgoingBody(attempt, { start: offset }, beginOnce(attempt));
    const since = performance.now();
    try {
      const headers = ['upload-offset', String(offset), 'content-type', 'application/offset+octet-stream'];
      const answer = await to('PATCH', at(begun.upload), headers, outgoing, body.bytes - offset);
      moved = outgoing.moved;
      const reached = offsetIn(answer, body.bytes);
      if (answer.status >= 300 || reached === undefined)
        return settled(refusedBy(destination, answer, moved));
      if (reached < body.bytes) return { ...answeredBy(answer, moved), outcome: 'retry' };
      goodput.note(moved, performance.now() - since);
      return answeredBy(answer, moved);
    } catch (error) {
      moved = outgoing.moved;
      throw outgoing.damage ?? error;
    }
  } catch (error) {
    if (error instanceof WayLost) return { kind: 'no-link', words: error.message, moved };
    throw error;
  }
};

/** The offsets disagree (409), the upload is gone, or somebody else still holds its lock (423): the next try asks. */
const settled = (result: Result): Result =>
  result.kind === 'answered' && [404, 409, 410, 423, 460].includes(result.status)
    ? { ...result, outcome: 'retry' }
    : result;

const nowhere = (answer: WholeAnswer): Result => ({
  ...answeredBy(answer, 0),
  outcome: 'dead',
  words: `the upload is at ${headerOf(answer.headers, 'location') ?? '(not said)'}, which is not at the upstream of this destination`,
});

/** Rejects with WayLost. `gone`: nothing is left of it, or it cannot be taken back. */
export async function abortTus(
  egress: RequestSender,
  destination: Destination,
  id: string,
  { upload }: TusBegun,
  signal: AbortSignal,
): Promise<{ gone: boolean; status: number }> {
  const head: EntryHead = {
    ...{ id, url: `http://${destination.name}${upload}`, destination: destination.name, method: 'DELETE' },
    ...{ headers: VERSION, orderKey: '', class: 0, receivedAt: 0 },
  };
  const answer = await ask(egress, destination, head, { signal });
  const { status } = answer;
  // A portal's answer takes nothing back.
  const isTheirs =
    isMarked(answer) || (portalSign(destination, answer) === undefined && !isHtmlType(answer.headers));
  return { gone: isTheirs && outcomeOf(status) !== 'retry', status };
}
