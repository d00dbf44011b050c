// What goes over the wire under Layby's own names: headers, paths, problem types. One table, for all parts.

/** On every receipt: the id of the entry. */
export const ENTRY_HEADER = 'layby-entry';
/** On answers that are not the destination's alone. */
export const ANSWER_HEADER = 'layby-answer';
/** Of what waits here, which the destination does not have yet. */
export const PENDING = 'pending';
/** Of the destination, with what waits here merged into it. */
export const MERGED = 'merged';
/** What the policy assumes of something that the destination could not be asked for. */
export const ASSUMED = 'assumed';
/** Sidecar → queue, after the direct way failed: the authority that the app had called. The destination sees it as well. */
export const HOST_HEADER = 'layby-host';
/** Beside it, where the upstream's URL has a path: that path, which stands before the app's by then. */
export const PREFIX_HEADER = 'layby-prefix';
/** Beside HOST_HEADER: when the request came, and when the direct path had failed, ms of the sidecar's clock with a space between them.
 *  The destination does not see it. */
export const FAILED_HEADER = 'layby-failed';
/** Sidecar → queue: the keys of the selections of apps (policy/in-force.ts) that its app is in, where there are any. On the way that
 *  tries the destination first it sees them as well. */
export const APPS_HEADER = 'layby-apps';
/** Sidecar → queue, where the request goes to no destination: its id, and so the entry's. A request that the sidecar sends
 *  again, since the queue died before its answer, is recognised by it. */
export const REQUEST_HEADER = 'layby-request';
/** Within the sidecar, for the choice of the route: in which version of HTTP the app speaks. Taken off behind it. */
export const PROTOCOL_HEADER = 'layby-protocol';

/** Queue → egress listener: the name of the destination. Taken off there. */
export const DESTINATION_HEADER = 'layby-destination';

/** Queue → egress listener, beside the destination: `impatient` takes the direct way, which gives up in seconds. */
export const PATIENCE_HEADER = 'layby-patience';
export const IMPATIENT = 'impatient';

/** Queue → egress listener: requests with different values share no connection. Taken off there. */
export const CONNECTIONS_HEADER = 'layby-connections';

/** On calls that a sidecar passed to a host which the policy does not name: by it one that comes back is known. The host sees it as
 *  well; not as `via`, which makes servers stop compressing. */
export const PASSED_HEADER = 'layby-passed';

/** Egress listener → queue, on answers that Envoy made itself: its response flags, and its details of the response code. */
export const NO_LINK_HEADER = 'layby-no-link';

/** On every segment of a stream (S3: as metadata, behind `x-amz-meta-`): which stream, which number from 0, and on the last one `whole`,
 *  or `torn` where the app went away in the middle. */
export const STREAM_HEADER = 'layby-stream';
export const SEGMENT_HEADER = 'layby-segment';
export const STREAM_END_HEADER = 'layby-stream-end';

/** SDS: a sidecar's own certificate, and the roots that all of the mesh trust. */
export const IDENTITY_SECRET = 'identity';
export const ROOTS_SECRET = 'roots';

/** On every host of every destination, answered by the queue. */
export const STATUS_PREFIX = '/.well-known/layby/';
export const ENTRIES_PREFIX = `${STATUS_PREFIX}entries/`;

/** Of the ids of S3 uploads that the queue gave. They are its own wherever the link is: S3 does not know them. */
export const UPLOAD_PREFIX = 'layby-';

/** Of continuation tokens of ListObjectsV2 that the queue gave; S3 does not know them either. */
export const TOKEN_PREFIX = 'layby-';

/** RFC 9457 types are this, and the last word of the error code in lower case. */
export const PROBLEM_BASE = 'https://layby.dev/problems/';

/** Methods whose repetition a destination can recognise by an `Idempotency-Key` only. */
export const NOT_IDEMPOTENT = ['POST', 'PATCH'];

/** Methods that may be sent again where nobody knows whether the first one was done (RFC 9110 section 9.2.2). */
export const IDEMPOTENT = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PUT', 'TRACE'];

/** To the destination, about a stream. */
const STREAM = [STREAM_HEADER, SEGMENT_HEADER, STREAM_END_HEADER];

const OWN = [
  ENTRY_HEADER,
  ANSWER_HEADER,
  HOST_HEADER,
  PREFIX_HEADER,
  FAILED_HEADER,
  APPS_HEADER,
  REQUEST_HEADER,
  PROTOCOL_HEADER,
  DESTINATION_HEADER,
  PATIENCE_HEADER,
  CONNECTIONS_HEADER,
  NO_LINK_HEADER,
  PASSED_HEADER,
];

/** What only a part of Layby sets for another one. Also with underscores, since a server that hands headers on as environment variables (CGI,
 *  WSGI) takes the two for one. */
export const OWN_HEADERS = OWN.flatMap((name) => [name, name.replaceAll('-', '_')]);

const alternatives = (names: readonly string[]): string =>
  names.map((name) => name.slice('layby-'.length).replaceAll('-', '[-_]')).join('|');

/** The same as a pattern of RE2, of lower-case names. It begins as it does so that of other names a few bytes are compared, and no more. */
export const OWN_HEADER_PATTERN = `^layby[-_](?:${alternatives(OWN)})$`;

/** What is for the destination to believe, beside that: said by the queue, and taken off what apps send. To S3 it is metadata. A pattern of its
 *  own, since Envoy takes none that is larger than both together. */
export const TOLD_HEADER_PATTERN = `^(?:x[-_]amz[-_]meta[-_])?layby[-_](?:${alternatives([ENTRY_HEADER, ...STREAM])})$`;
