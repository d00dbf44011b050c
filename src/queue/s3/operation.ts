// What a request asks of S3, and of which object: a pure reading of method, path, query and destination. What is then done
// about it is for serve.ts.

import { objectPath } from '../../egress/path.ts';
import { upstreamBucket } from '../../policy/bucket.ts';
import type { Destination } from '../../policy/policy.ts';
import { upstreamPath } from '../../policy/upstream.ts';

export type Operation =
  | 'PutObject'
  | 'CopyObject'
  | 'GetObject'
  | 'HeadObject'
  | 'DeleteObject'
  /** Tags, ACL, retention and legal hold of an object, and the deletion of one version: stored as they are. */
  | 'ChangeObject'
  | 'DeleteObjects'
  | 'ListObjects'
  | 'ListObjectsV2'
  | 'HeadBucket'
  | 'CreateBucket'
  | 'GetBucketLocation'
  | 'CreateMultipartUpload'
  | 'UploadPart'
  | 'UploadPartCopy'
  | 'CompleteMultipartUpload'
  | 'AbortMultipartUpload'
  | 'ListParts'
  | 'ListMultipartUploads'
  | 'ListObjectVersions'
  /** What else is read of an object: a version, tags, ACL, attributes. */
  | 'ReadObject'
  /** Anything else that S3 knows: only the destination can answer it. */
  | 'Other';

export interface S3Request {
  operation: Operation;
  /** Empty where the request names none. */
  bucket: string;
  /** Each byte in its one spelling (see objectPath); empty where the request names no object. */
  key: string;
  /** Decoded; of a repeated name the first. */
  query: ReadonlyMap<string, string>;
}

/** What makes another request of one that has it in its query. The rest (`x-id`, `response-…`, a signature) does not. */
const SUBRESOURCE =
  /^(accelerate|acl|analytics|attributes|cors|delete|encryption|intelligent-tiering|inventory|legal-hold|lifecycle|location|logging|metadata\w+|metrics|notification|object-lock|ownershipControls|partNumber|policy|policyStatus|publicAccessBlock|renameObject|replication|requestPayment|restore|retention|select|session|tagging|torrent|uploadId|uploads|versionId|versioning|versions|website)$/;

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
};

export const queryOf = (path: string): Map<string, string> => {
  const query = new Map<string, string>();
  const at = path.indexOf('?');
  if (at < 0) return query;
  for (const pair of path.slice(at + 1).split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    const name = decoded(equals < 0 ? pair : pair.slice(0, equals));
    if (!query.has(name)) query.set(name, equals < 0 ? '' : decoded(pair.slice(equals + 1)));
  }
  return query;
};

/** Bucket and key as the upstream will see them: the bucket is in its host's name, or the first segment of the path that it gets. */
export const objectOf = (destination: Destination, path: string): { bucket: string; key: string } => {
  const [resource = ''] = path.split('?', 1);
  const whole = objectPath(upstreamPath(destination) + resource);
  const inHost = upstreamBucket(destination);
  if (inHost !== undefined) return { bucket: inHost, key: whole.slice(1) };
  const slash = whole.indexOf('/', 1);
  return slash < 0
    ? { bucket: whole.slice(1), key: '' }
    : { bucket: whole.slice(1, slash), key: whole.slice(slash + 1) };
};

/** `path`: path and query as the app called them, in path style. `copies`: it names the object that it copies (x-amz-copy-source). */
export const s3Request = (
  destination: Destination,
  method: string,
  path: string,
  copies = false,
): S3Request => {
  const query = queryOf(path);
  const { bucket, key } = objectOf(destination, path);
  const of = key !== '' ? onObject : bucket !== '' ? onBucket : () => 'Other' as const;
  return { operation: of(method, query, copies), bucket, key, query };
};

const subresources = (query: ReadonlyMap<string, string>): string =>
  [...query.keys()]
    .filter((name) => SUBRESOURCE.test(name))
    .sort()
    .join(' ');

const onObject = (method: string, query: ReadonlyMap<string, string>, copies: boolean): Operation => {
  switch (`${method} ${subresources(query)}`) {
    case 'PUT ':
      return copies ? 'CopyObject' : 'PutObject';
    case 'PUT partNumber uploadId':
      return copies ? 'UploadPartCopy' : 'UploadPart';
    case 'GET ':
    case 'GET partNumber':
      return 'GetObject';
    case 'HEAD ':
    case 'HEAD partNumber':
      return 'HeadObject';
    case 'DELETE ':
      return 'DeleteObject';
    case 'PUT tagging':
    case 'PUT acl':
    case 'PUT retention':
    case 'PUT legal-hold':
    case 'DELETE tagging':
    case 'DELETE versionId':
      return 'ChangeObject';
    case 'POST uploads':
      return 'CreateMultipartUpload';
    case 'POST uploadId':
      return 'CompleteMultipartUpload';
    case 'DELETE uploadId':
      return 'AbortMultipartUpload';
    case 'GET uploadId':
      return 'ListParts';
    default:
      return method === 'GET' || method === 'HEAD' ? 'ReadObject' : 'Other';
  }
};

const onBucket = (method: string, query: ReadonlyMap<string, string>): Operation => {
  switch (`${method} ${subresources(query)}`) {
    case 'GET ':
      return query.get('list-type') === '2' ? 'ListObjectsV2' : 'ListObjects';
    case 'HEAD ':
      return 'HeadBucket';
    case 'PUT ':
      return 'CreateBucket';
    case 'GET location':
      return 'GetBucketLocation';
    case 'GET uploads':
      return 'ListMultipartUploads';
    case 'GET versions':
      return 'ListObjectVersions';
    case 'POST delete':
      return 'DeleteObjects';
    default:
      return 'Other';
  }
};

/** A key, or a bucket and a key, as S3 names it in XML. Bytes that are no UTF-8 stay escaped. */
export const spoken = (canonical: string): string => {
  try {
    return decodeURIComponent(canonical);
  } catch {
    return canonical;
  }
};

/** `/bucket/key`, as S3 names it. */
export const nameOf = ({ bucket, key }: { bucket: string; key: string }): string =>
  spoken(`/${bucket}/${key}`);
