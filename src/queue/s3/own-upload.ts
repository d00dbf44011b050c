// A multipart upload that begins without a link. The queue gives the upload id, which it knows again by its prefix wherever the
// link then is:
//
//   Create ─► its headers are staged, in a group of the store that has the id of the upload
//   UploadPart ─► the part is staged there; of one number the newest counts
//   Complete ─► one entry, a PUT, whose body is the parts (Store.compose): from here on it waits like any other
//   Abort, or no end within the time to live ─► all of it is dropped
//
// Every answer comes after the commit of what it is about.

import { v5 } from 'uuid';
import type { Entry, EntryHead, EntryWriter } from '../../store/store.ts';
import { LaybyError } from '../../telemetry/error.ts';
import { headerOf } from '../../wire/headers.ts';
import { ENTRY_HEADER, UPLOAD_PREFIX } from '../../wire/names.ts';
import { headOf, type Outcome, type Surroundings } from '../arrival.ts';
import type { Filing } from '../filing.ts';
import { RECEIPTS } from '../receipts/receipt.ts';
import { storedBefore } from '../storing.ts';
import { element, NAMESPACE, newRequestId, refuse, sendXml } from './answer.ts';
import { filingOf, type S3Arrival, storable } from './filing.ts';
import { completed, etagOfParts, partListIn } from './given-upload.ts';
import { s3Request, spoken } from './operation.ts';
import { assembled, listed, partNumberOf, type Upload } from './parts.ts';
import {
  completedChecksum,
  type UploadChecksum,
  uploadChecksumHeaders,
  uploadChecksumOf,
} from './upload-checksum.ts';
import { commitWrite } from './writes.ts';

/** Where the policy has no time to live: what an upload that never ends may keep of the disk, ms. */
const UPLOAD_TTL_MS = 7 * 24 * 60 * 60 * 1000;
/** Entries dropped at once, so that they share a flush. */
const TOGETHER = 64;

export const isOwn = ({ s3 }: S3Arrival): boolean =>
  s3.query.get('uploadId')?.startsWith(UPLOAD_PREFIX) === true;

export async function createUpload(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { head, ...filing } = await filingOf(around, storable(storable(arrival, 'PUT')));
  const checksum = uploadChecksumOf((name) => headerOf(head.headers, name));
  const group = UPLOAD_PREFIX + head.id;
  await stage(around, arrival, { ...filing, head: stagedHead(head, group) });
  const { s3, response } = arrival;
  const xml = [
    `<InitiateMultipartUploadResult xmlns="${NAMESPACE}">`,
    element('Bucket', spoken(s3.bucket)),
    element('Key', spoken(s3.key)),
    element('UploadId', group),
    '</InitiateMultipartUploadResult>',
  ].join('');
  sendXml(response, 200, xml, {
    'x-amz-request-id': newRequestId(),
    ...uploadChecksumHeaders(checksum),
  });
  return 'receipt';
}

export async function uploadPart(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const filing = await filingOf(around, storable(arrival));
  partNumberOf(arrival.s3.query.get('partNumber'));
  const { group } = await uploadOf(around, arrival);
  const entry = await stage(around, arrival, { ...filing, head: stagedHead(filing.head, group) });
  try {
    await uploadOf(around, arrival);
  } catch (ended) {
    await around.store.drop(entry.id, 'dropped', 'the upload had ended before the part was there');
    throw ended;
  }
  RECEIPTS.s3(arrival.response, entry);
  return 'receipt';
}

export async function completeUpload(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { store, backlog, ledgers } = around;
  const { response, destination, failedOver, url } = arrival;
  const { payload } = await filingOf(around, storable(arrival));
  const parts = await partListIn(payload);
  const id = wholeId(arrival);
  const answer = async (created?: UploadChecksum): Promise<Outcome> => {
    const checksum = await completedChecksum(arrival.request.headers, parts, created);
    sendXml(response, 200, completed(arrival, etagOfParts(parts), checksum), {
      'x-amz-request-id': newRequestId(),
      [ENTRY_HEADER]: id,
    });
    return 'receipt';
  };
  // Asked again since the answer was lost: the app is owed the same one, and no second object.
  if (await isKnown(around, id)) return answer();
  const upload = await uploadOf(around, arrival);
  const { ids, headers } = await assembled(store, upload, arrival, parts);
  const head = headOf({ ...arrival, url: url.split('?', 1)[0]! });
  const storing = backlog.storing(destination.name, failedOver);
  const stored = ledgers.of(destination.name).gate.commit(head.orderKey);
  try {
    await storing.marked();
    await commitWrite(around, arrival, id, () =>
      store.compose({ ...head, id, method: 'PUT', headers }, upload.group, ids),
    );
    await storing.held();
  } catch (error) {
    if (!(error instanceof LaybyError)) throw error;
    if (error.code === 'LAYBY_ENTRY_UNKNOWN')
      throw refuse(400, 'InvalidPart', 'One or more of the specified parts could not be found.');
    if (error.code !== 'LAYBY_ENTRY_EXISTS') throw error;
  } finally {
    stored();
    storing.done();
  }
  await dropGroup(around, arrival, upload.group, `the upload was completed as ${id}`);
  return answer(uploadChecksumOf((name) => headerOf(upload.created.headers, name)));
}

export async function abortUpload(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { id, group } = await uploadOf(around, storable(arrival));
  arrival.request.resume();
  const rule = 'the upload was aborted';
  await around.store.drop(id, 'dropped', rule); // first, so that no part comes after
  await dropGroup(around, arrival, group, rule);
  arrival.response.writeHead(204, { 'x-amz-request-id': newRequestId() });
  arrival.response.end();
  return 'receipt';
}

export async function listParts(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const upload = await uploadOf(around, arrival);
  arrival.request.resume();
  const xml = await listed(around.store, upload, arrival.s3);
  sendXml(arrival.response, 200, xml, { 'x-amz-request-id': newRequestId() });
  return 'read';
}

const stagedHead = (head: EntryHead, group: string): EntryHead => ({
  ...head,
  ttl: head.ttl ?? UPLOAD_TTL_MS,
  group,
});

/** Rejects with NoSuchUpload, as S3 does of one that has ended or never was. */
const uploadOf = async ({ store }: Surroundings, { s3, destination }: S3Arrival): Promise<Upload> => {
  const group = s3.query.get('uploadId') ?? '';
  const id = group.slice(UPLOAD_PREFIX.length);
  const created = await store.get(id);
  const path = created?.url.slice(created.url.indexOf('/', 'http://'.length)) ?? '';
  const same =
    created?.state === 'staged' && created.group === group && created.destination === destination.name;
  if (created && same && s3Request(destination, created.method, path).key === s3.key)
    return { id, group, created };
  throw refuse(
    404,
    'NoSuchUpload',
    'The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.',
  );
};

/** The same for each Complete of one upload. */
const wholeId = ({ s3 }: S3Arrival): string => {
  const upload = (s3.query.get('uploadId') ?? '').slice(UPLOAD_PREFIX.length);
  try {
    return v5('whole', upload);
  } catch {
    throw refuse(404, 'NoSuchUpload', 'The specified upload does not exist.');
  }
};

const isKnown = async ({ store }: Surroundings, id: string): Promise<boolean> => {
  if (await store.get(id)) return true;
  for await (const _ of store.audit({ id })) return true;
  return false;
};

/** Stores what does not wait: nothing is held for it. */
const stage = async (
  around: Surroundings,
  arrival: S3Arrival,
  { head, expected, read }: Pick<Filing, 'head' | 'expected' | 'read'>,
): Promise<Entry> => {
  const { destination, signal } = arrival;
  let writer: EntryWriter | undefined;
  try {
    writer = await around.room.begin(destination, head, expected, { md5: true, owned: true, signal });
    const spool = writer;
    await read((piece) => spool.write(piece));
    return await writer.commit();
  } catch (error) {
    await writer?.abort();
    const again = await storedBefore(around, arrival, error);
    if (!again) throw error;
    return again;
  }
};

const dropGroup = async (
  { store }: Surroundings,
  { destination }: S3Arrival,
  group: string,
  rule: string,
): Promise<void> => {
  let together: Promise<boolean>[] = [];
  for await (const { id } of store.staged(destination.name, group)) {
    together.push(store.drop(id, 'dropped', rule));
    if (together.length < TOGETHER) continue;
    await Promise.all(together);
    together = [];
  }
  await Promise.all(together);
};
