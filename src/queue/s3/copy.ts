// CopyObject of an object that waits, where S3 cannot make the copy: without a link, or since what waits concerns the two objects. The copy is
// stored as a PUT of the same body, so it needs nothing of its source any more. Of a source that does not wait only S3 has the body.

import type { EntryHead } from '../../store/store.ts';
import { LaybyError } from '../../telemetry/error.ts';
import { headOf, type Outcome, type Surroundings } from '../arrival.ts';
import { verdictOn } from '../conditions.ts';
import { bearsCredentialsOf } from '../credentials.ts';
import { etagOf } from '../stored-answer.ts';
import { storeRequest } from '../storing.ts';
import { element, NAMESPACE, newRequestId, preconditionFailed, refuse, sendXml } from './answer.ts';
import { CHECKSUM } from './checksums.ts';
import { maySign, type S3Arrival, storable, unavailable } from './filing.ts';
import { sourceOf } from './overtakes.ts';
import { type LastWaiting, lastOf } from './pending.ts';
import { commitWrite } from './writes.ts';

/** What belongs to the data, and is the source's also where the request replaces what is said of it. */
const OF_BODY = CHECKSUM;
/** What is said of an object, and goes with a copy unless the request replaces it (x-amz-metadata-directive). */
const METADATA =
  /^(content-type|content-encoding|content-disposition|content-language|cache-control|expires|x-amz-meta-.+)$/;
const TAGGING = 'x-amz-tagging';
/** What is said of the copying itself. */
const OF_COPY =
  /^x-amz-(copy-source.*|metadata-directive|tagging-directive|checksum-algorithm|content-sha256)$/;

/** The conditions on the source, and what they are of a read. */
const CONDITIONS = {
  'x-amz-copy-source-if-match': 'if-match',
  'x-amz-copy-source-if-none-match': 'if-none-match',
  'x-amz-copy-source-if-modified-since': 'if-modified-since',
  'x-amz-copy-source-if-unmodified-since': 'if-unmodified-since',
} as const;

/** undefined: its source is nothing that waits here as a whole. Rejects with S3Refused where S3 would refuse it. */
export async function copyWaiting(around: Surroundings, arrival: S3Arrival): Promise<Outcome | undefined> {
  const { request, destination, path } = arrival;
  // Else the app has signed a copy, and not what would be sent.
  if (!maySign(arrival)) return undefined;
  const source = sourceOf(arrival);
  if (source === undefined || /\?versionId=/i.test(String(request.headers['x-amz-copy-source'])))
    return undefined;
  const last = await lastOf(around.former, destination, source);
  // Tags that are set behind the object cannot be copied before they are there.
  if (!last || (last.tagging && directive(arrival, 'tagging') !== 'REPLACE')) return undefined;
  if (!bearsCredentialsOf(last.entry, request.rawHeaders, path)) return undefined;
  if (last.effect === 'delete') throw refuse(404, 'NoSuchKey', 'The specified key does not exist.');
  if (last.effect !== 'put') return undefined;
  judge(arrival, last, source);
  request.resume();
  const head = headFor(storable(arrival), last);
  return storeRequest(around, arrival, {
    ...{ head, expected: last.entry.bytes, online: false, md5: true },
    read: async (onChunk) => {
      try {
        for await (const chunk of around.store.read(last.entry)) await onChunk(chunk);
      } catch (error) {
        if (!(error instanceof LaybyError) || error.code !== 'LAYBY_ENTRY_UNKNOWN') throw error;
        throw unavailable('The source of the copy has just left for S3. Please try again.');
      }
    },
    committing: (commit) => commitWrite(around, arrival, head.id, commit),
    receipt: (response, entry) =>
      sendXml(
        response,
        200,
        `<CopyObjectResult xmlns="${NAMESPACE}">${element('LastModified', new Date(entry.receivedAt).toISOString())}${element('ETag', etagOf(entry))}</CopyObjectResult>`,
        { 'x-amz-request-id': newRequestId(), 'layby-entry': entry.id, 'cache-control': 'no-store' },
      ),
  });
}

const directive = ({ request }: S3Arrival, of: 'metadata' | 'tagging'): string =>
  String(request.headers[`x-amz-${of}-directive`] ?? 'COPY').toUpperCase();

/** Throws S3Refused. */
function judge(arrival: S3Arrival, { entry }: LastWaiting, source: string): void {
  const { headers } = arrival.request;
  const asked = Object.fromEntries(
    Object.entries(CONDITIONS).flatMap(([name, condition]) =>
      headers[name] === undefined ? [] : [[condition, String(headers[name])]],
    ),
  );
  if (verdictOn(asked, { etag: etagOf(entry), changed: entry.receivedAt }, true) !== 'go')
    throw preconditionFailed();
  const isItself = source === arrival.url.split('?', 1)[0];
  if (
    isItself &&
    directive(arrival, 'metadata') !== 'REPLACE' &&
    headers['x-amz-storage-class'] === undefined
  )
    throw refuse(
      400,
      'InvalidRequest',
      "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
    );
}

/** A PUT of the body of the source. */
function headFor(arrival: S3Arrival, { entry }: LastWaiting): EntryHead {
  const head = headOf(arrival);
  const isCopied = (name: string): boolean =>
    OF_BODY.test(name) ||
    (METADATA.test(name) && directive(arrival, 'metadata') !== 'REPLACE') ||
    (name === TAGGING && directive(arrival, 'tagging') !== 'REPLACE');
  const headers: string[] = [];
  for (let i = 0; i < head.headers.length; i += 2) {
    const name = head.headers[i]!.toLowerCase();
    if (!OF_COPY.test(name) && !isCopied(name)) headers.push(head.headers[i]!, head.headers[i + 1]!);
  }
  for (let i = 0; i < entry.headers.length; i += 2)
    if (isCopied(entry.headers[i]!.toLowerCase())) headers.push(entry.headers[i]!, entry.headers[i + 1]!);
  return { ...head, headers };
}
