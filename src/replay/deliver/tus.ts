// A large POST to a destination that speaks tus 1.0 (https://tus.io/protocols/resumable-upload): the app sends one plain POST, and it is
// an upload that goes on where it was.
//
//   none      → POST without a body, Upload-Length; 201 and where the upload is, written down → sending
//   sending   → PATCH with the rest; after a cut or a crash HEAD first: it says what is there → delivered
//   gone      → the destination knows no such upload                                         → none
//
// The offset is the destination's word, so nothing but the place of the upload has to be written down.

import type { Egress } from '../../egress/egress.ts';
import type { Destination } from '../../policy/policy.ts';
import type { EntryHead } from '../../store/store.ts';
import { headerOf } from '../../wire/headers.ts';
import { outcomeOf, retryAfterMs } from '../outcome.ts';
import { ask, WayLost, type WholeAnswer } from './ask.ts';
import type { Result, Strategy } from './deliver.ts';
import { beginOnce, OutgoingBody } from './outgoing-body.ts';
import { type Place, placeOf } from './place.ts';
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

const resultOf = ({ status, headers, text }: WholeAnswer, moved: number): Result => ({
  ...{ kind: 'answered', outcome: outcomeOf(status), status, words: text.slice(0, 4096), moved },
  retryAfter: retryAfterMs(headerOf(headers, 'retry-after'), Date.now()),
});

/** 403 is for servers that have it expired (tus, Expiration). */
const isGone = ({ status }: WholeAnswer): boolean => [403, 404, 410].includes(status);

export const deliverByTus: Strategy = async (attempt) => {
  const { store, entry, body, destination, goodput, signal, egress } = attempt;
  const kept = entry.headers.filter((_, at) => !OF_THE_BODY.test(entry.headers[at - (at % 2)]!));
  const to = (method: string, url: string, headers: string[], outgoing?: OutgoingBody, bytes = 0) => {
    const head: EntryHead = { ...entry, method, url, headers: [...kept, ...VERSION, ...headers] };
    return ask(egress, destination, head, { signal }, outgoing && { bytes, pieces: outgoing.pieces() });
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
      const said = headerOf(answer.headers, 'upload-offset');
      if (isGone(answer)) begun = undefined;
      else if (outcomeOf(answer.status) !== 'delivered' || said === undefined) return resultOf(answer, 0);
      offset = Number(said);
    }
    if (!begun) {
      const answer = await to('POST', entry.url, [
        'upload-length',
        String(body.bytes),
        ...metadataOf(entry.headers),
      ]);
      if (answer.status !== 201) return resultOf(answer, 0);
      const upload = uploadPath(destination, entry.url, headerOf(answer.headers, 'location'));
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
      const reached = Number(headerOf(answer.headers, 'upload-offset') ?? body.bytes);
      if (answer.status >= 300 || reached === body.bytes) {
        if (answer.status < 300) goodput.note(moved, performance.now() - since);
        return settled(resultOf(answer, moved));
      }
      return { ...resultOf(answer, moved), outcome: 'retry' } as Result;
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
  ...(resultOf(answer, 0) as Result & { kind: 'answered' }),
  outcome: 'dead',
  words: `the upload is at ${headerOf(answer.headers, 'location') ?? '(not said)'}, which is not at the upstream of this destination`,
});

/** Rejects with WayLost. `gone`: nothing is left of it, or it cannot be taken back. */
export async function abortTus(
  egress: Egress,
  destination: Destination,
  id: string,
  { upload }: TusBegun,
  signal: AbortSignal,
): Promise<{ gone: boolean; status: number }> {
  const head: EntryHead = {
    ...{ id, url: `http://${destination.name}${upload}`, destination: destination.name, method: 'DELETE' },
    ...{ headers: VERSION, orderKey: '', class: 0, receivedAt: 0 },
  };
  const { status } = await ask(egress, destination, head, { signal });
  return { gone: outcomeOf(status) !== 'retry', status };
}
