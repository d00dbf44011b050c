// DeleteObjects without a link: one deletion for each object, so that each keeps its place in the order of its own object. The
// answer comes when all of them are committed.

import { objectPath } from '../../egress/path.ts';
import type { EntryHead } from '../../store/store.ts';
import { headerOf } from '../../wire/headers.ts';
import { headOf, type Outcome, type Surroundings } from '../arrival.ts';
import { entryId } from '../entry-id.ts';
import { element, NAMESPACE, newRequestId, sendXml } from './answer.ts';
import type { S3Arrival } from './filing.ts';
import { payloadOf, wholeBody } from './payload.ts';
import { type Deletion, deletionsIn } from './xml.ts';

/** 1000 keys of 1024 bytes, escaped, are less. */
const LIST_BYTES = 8 * 1024 * 1024;

/** Of the request, what S3 knows of a single deletion as well. */
const KEPT = [
  'x-amz-mfa',
  'x-amz-bypass-governance-retention',
  'x-amz-expected-bucket-owner',
  'x-amz-request-payer',
  'user-agent',
];

export async function deleteObjects(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { backlog, room, ledgers } = around;
  const { response, destination, failedOver, signal } = arrival;
  const body = await wholeBody(await payloadOf(arrival, { kept: [], length: arrival.expected }), LIST_BYTES);
  const { quiet, deletions } = deletionsIn(body);
  const heads = deletions.map((deletion) => headFor(arrival, deletion));
  const storing = backlog.storing(destination.name, failedOver);
  const stored = heads.map(({ orderKey }) => ledgers.of(destination.name).gate.commit(orderKey));
  try {
    await storing.marked();
    const commits = heads.map(async (head) => {
      const writer = await room.begin(destination, head, 0, { signal });
      await writer.commit();
    });
    // Also where one of them fails: the others are being stored until they are settled.
    await Promise.allSettled(commits);
    await Promise.all(commits);
    await storing.held();
  } finally {
    for (const over of stored) over();
    storing.done();
  }
  const deleted = quiet
    ? []
    : deletions.map(
        ({ key, versionId }) => `<Deleted>${element('Key', key)}${element('VersionId', versionId)}</Deleted>`,
      );
  sendXml(response, 200, `<DeleteResult xmlns="${NAMESPACE}">${deleted.join('')}</DeleteResult>`, {
    'x-amz-request-id': newRequestId(),
  });
  return 'receipt';
}

const headFor = (arrival: S3Arrival, { key, versionId }: Deletion): EntryHead => {
  const bucket = arrival.url.split('?', 1)[0]!.replace(/\/$/, '');
  const path = objectPath(`/${key.split('/').map(encodeURIComponent).join('/')}`);
  const query = versionId === undefined ? '' : `?versionId=${encodeURIComponent(versionId)}`;
  const judged = arrival.judgedPath === undefined ? {} : { judgedPath: path };
  const head = headOf({ ...arrival, ...judged, url: bucket + path + query });
  return {
    ...head,
    id: entryId(),
    method: 'DELETE',
    headers: KEPT.flatMap((name) => {
      const value = headerOf(head.headers, name);
      return value === undefined ? [] : [name, value];
    }),
  };
};
