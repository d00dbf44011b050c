// Whether an answer is one that S3 gives to this call. Servers differ (AWS, MinIO, Ceph, R2, GCS, versitygw, rclone, moto), so a rule asks
// only for what all of them do, and a portal does not: an ETag for an object, a document of XML where the operation has one, an empty body
// elsewhere. The type that a server says its body has does not decide: moto says `text/html` of everything. Pure.

import { headerOf } from '../../../wire/headers.ts';
import { isHtmlPage, isHtmlType, isRedirect, type ReadAnswer } from '../portal.ts';

/** What was asked for. */
export interface S3Call {
  method: string;
  /** `http://host/path?query`, or path and query. */
  url: string;
  /** Names and values in turn. */
  headers: readonly string[];
}

/** `object`: the answer has the ETag of what was written, and no body. `document`: it has a body of XML. `bare`: mostly none. */
type AnswerForm = 'object' | 'document' | 'bare';

/** Names of a query that choose no operation: of signatures and of SDKs. */
const NO_OPERATION = /^(x-.*|awsaccesskeyid|signature|expires|versionid)$/i;
/** PutObject and UploadPart have these at most. */
const OF_AN_OBJECT = /^(partNumber|uploadId)$/;

/** Of the query, without those of signatures. */
function namesIn(url: string): string[] {
  const at = url.indexOf('?');
  if (at < 0) return [];
  return url
    .slice(at + 1)
    .split('&')
    .map((pair) => pair.split('=', 1)[0]!)
    .filter((name) => name !== '' && !NO_OPERATION.test(name));
}

function formOf({ method, url, headers }: S3Call): AnswerForm {
  const names = namesIn(url);
  if (method === 'PUT') {
    if (!names.every((name) => OF_AN_OBJECT.test(name))) return 'bare';
    return headerOf(headers, 'x-amz-copy-source') === undefined ? 'object' : 'document';
  }
  const isDocument =
    method === 'POST' && names.some((name) => name === 'uploads' || name === 'uploadId' || name === 'delete');
  return isDocument ? 'document' : 'bare';
}

/** PutObject or UploadPart: the answer has an ETag of the body. */
export const givesEtag = (call: S3Call): boolean => formOf(call) === 'object';

/** DeleteObjects. */
export const isDeleteObjects = ({ method, url }: Pick<S3Call, 'method' | 'url'>): boolean =>
  method === 'POST' && namesIn(url).includes('delete');

/** Headers that only S3 and its likes say. */
const isMarked = (headers: readonly string[]): boolean =>
  headers.some((name, at) => at % 2 === 0 && /^x-(amz|goog|minio)-/i.test(name));

/** The first element of a document of XML, without its prefix; of one that is cut off too. */
const rootOf = (text: string): string | undefined =>
  /^\uFEFF?\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--[\s\S]*?-->\s*)*<(?:[\w.-]+:)?([A-Za-z][\w.-]*)[\s/>]/.exec(
    text,
  )?.[1];

/** RFC 9110 section 8.8.3; some servers leave the quotes out. */
const ETAG = /^(?:W\/)?"[!#-~]+"$|^[!#-~]+$/;

export const unquotedEtag = (headers: readonly string[]): string =>
  (headerOf(headers, 'etag') ?? '').replace(/^W\//, '').replace(/^"|"$/g, '');

/** Path of a bucket, with `/` before it and perhaps behind it: CreateBucket has no ETag. */
const isOneName = (url: string): boolean =>
  /^\/[^/]+\/?$/.test(url.replace(/^[a-z]+:\/\/[^/]*/i, '').split('?', 1)[0]!);

const portal = (what: string): string => `the answer does not look like S3's: ${what}; a captive portal?`;

const described = ({ status, headers, text }: ReadAnswer): string => {
  const type = headerOf(headers, 'content-type')?.split(';', 1)[0]?.trim().slice(0, 80);
  return `${status} with ${text === '' ? 'no body' : (type ?? 'a body without a type')}`;
};

/** rclone leaves `Result` out of one of them. */
const DOCUMENT = /Result$|^InitiateMultipartUpload$/;

/** Why a positive answer is none of S3's to this call; undefined: it may be. `md5`: of the body that was sent, where it is known. */
export function positiveDoubt(call: S3Call, answer: ReadAnswer, md5?: string): string | undefined {
  const { headers, text } = answer;
  const saw = described(answer);
  if (isHtmlPage(answer)) return portal(saw);
  const form = formOf(call);
  if (form === 'document') {
    const root = rootOf(text);
    return root !== undefined && DOCUMENT.test(root) ? undefined : portal(`${saw}, not the document of XML`);
  }
  // The documents of S3 have names like CopyObjectResult, the elements of a page have not.
  const isDocument = /^[A-Z][a-z]/.test(rootOf(text) ?? '');
  if (form === 'bare') return text === '' || isMarked(headers) || isDocument ? undefined : portal(saw);
  const etag = headerOf(headers, 'etag')?.trim() ?? '';
  if (md5 !== undefined && unquotedEtag(headers) === md5) return undefined;
  if (!ETAG.test(etag)) {
    const isBucket = isOneName(call.url) && text === '';
    const isMade = isMarked(headers) || headerOf(headers, 'location') !== undefined;
    return isBucket && isMade ? undefined : portal(`${saw} and no ETag`);
  }
  return text === '' || isMarked(headers)
    ? undefined
    : portal(`${saw}, and the ETag is not the MD5 of the body`);
}

/** Why another answer than a positive one is none of S3's; undefined: it may be. `error`: it has S3's document of an error. A proxy before
 *  the server may well say 5xx with a page: that is tried again anyway. */
export function negativeDoubt(answer: ReadAnswer, error: boolean): string | undefined {
  const { status, headers } = answer;
  if (error || isMarked(headers) || status < 300) return undefined;
  if (isRedirect(status)) {
    const to = headerOf(headers, 'location')?.slice(0, 200) ?? '(no Location)';
    return portal(`${status} to ${to}`);
  }
  if (status === 511 || status === 407) return portal(`${status}, the network asks for a login`);
  return status < 500 && isHtmlPage(answer) ? portal(described(answer)) : undefined;
}

/** Of a negative answer to HEAD: it announces a page, and nothing in it is S3's. */
export const isPageHead = (headers: readonly string[]): boolean => !isMarked(headers) && isHtmlType(headers);

/** The object is encrypted in a way that makes its ETag something else than an MD5. */
export const hidesMd5 = (request: readonly string[], answer: readonly string[]): boolean =>
  [request, answer].some(
    (headers) =>
      /kms/i.test(headerOf(headers, 'x-amz-server-side-encryption') ?? '') ||
      headerOf(headers, 'x-amz-server-side-encryption-customer-algorithm') !== undefined,
  );

const SCOPE = /\/s3\/aws4_request/i;

/** Signed by its app for S3, in a header or in the URL. */
export const isSignedForS3 = ({ url, headers }: Pick<S3Call, 'url' | 'headers'>): boolean =>
  SCOPE.test(headerOf(headers, 'authorization') ?? '') ||
  (/[?&]x-amz-signature=/i.test(url) &&
    SCOPE.test(decodedOrRaw(/[?&]x-amz-credential=([^&]*)/i.exec(url)?.[1] ?? '')));

const decodedOrRaw = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/** Signed in the URL: nobody but the app can sign it again. */
export const isPresigned = (url: string): boolean => /[?&](x-amz-signature|signature)=/i.test(url);
