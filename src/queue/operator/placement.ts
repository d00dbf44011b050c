// How a destination spells, orders and judges an entry that is edited, or moved to it.

import { objectPath } from '../../egress/path.ts';
import { pathStyle } from '../../policy/bucket.ts';
import { forEntry } from '../../policy/in-force.ts';
import type { Destination } from '../../policy/policy.ts';
import type { Entry, EntryHead } from '../../store/store.ts';
import { orderKeyOf } from '../arrival.ts';
import { nameOf, s3Request } from '../s3/operation.ts';

/** What of a head depends on the destination. */
export type Placement = Pick<EntryHead, 'url' | 'orderKey' | 'judgedPath'>;

const pathOf = (url: string): string => url.slice(url.indexOf('/', 'http://'.length));

/** `url`: `http://host/path`, as an app would call it, or as another destination stored it. */
export function placementIn(named: Destination, entry: Entry, url: string): Placement {
  const asCalled = pathOf(url).split('?', 1)[0]!;
  const judgedPath = url === entry.url ? (entry.judgedPath ?? asCalled) : asCalled;
  const destination = forEntry(named, { ...entry, url, judgedPath });
  const spelled = spelling(destination, url);
  const judged = entry.judgedPath !== undefined || pathOf(spelled).split('?', 1)[0] !== judgedPath;
  return {
    url: spelled,
    orderKey: orderKeyIn(destination, entry, spelled),
    ...(judged && { judgedPath }),
  };
}

/** Objects of S3 have one spelling, in path style: see queue/s3/serve.ts. */
function spelling(destination: Destination, url: string): string {
  const inPath = pathStyle(destination, url);
  if (destination.upstream.sign?.aws.service !== 's3') return inPath;
  const path = pathOf(inPath);
  return inPath.slice(0, inPath.length - path.length) + objectPath(path);
}

/** Parts and end of one S3 upload keep their order also where the policy asks for none. */
function orderKeyIn(destination: Destination, { method, group }: Entry, url: string): string {
  const key = orderKeyOf(destination, url);
  const { store, upstream } = destination;
  const mayBeS3 = upstream.sign?.aws.service === 's3' || /^(s3|auto)$/.test(store.receipt);
  if (key !== '' || group !== undefined || !mayBeS3) return key;
  const request = s3Request(destination, method, pathOf(url));
  return request.query.has('uploadId') ? nameOf(request) : '';
}
