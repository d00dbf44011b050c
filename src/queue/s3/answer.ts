// How S3 says things: errors and results as its XML, always without Retry-After, since several clients hang for as long as it
// says.

import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';

export interface Refusal {
  status: number;
  /** S3's, as in its list of error codes. */
  code: string;
  message: string;
}

/** S3 would refuse this request; nothing of it is stored. */
export class S3Refused extends Error implements Refusal {
  readonly status: number;
  readonly code: string;

  constructor({ status, code, message }: Refusal) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const refuse = (status: number, code: string, message: string): S3Refused =>
  new S3Refused({ status, code, message });

export const preconditionFailed = (): S3Refused =>
  refuse(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold');

/** What XML 1.0 can hold no other way; control characters it cannot hold at all. */
const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

export const escapeXml = (text: string): string =>
  text.replace(/[&<>"]/g, (char) => ESCAPES[char]!).replaceAll('\r', '&#13;');

export const NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/';

/** `<name>` around escaped text; empty where there is none to say. */
export const element = (name: string, text: string | number | boolean | undefined): string =>
  text === undefined ? '' : `<${name}>${escapeXml(String(text))}</${name}>`;

/** Who owns what waits, or began it: whose it will be is for S3 to say. */
export const ownerAs = (name: 'Owner' | 'Initiator'): string =>
  `<${name}>${element('ID', 'layby')}${element('DisplayName', 'layby')}</${name}>`;

export const newRequestId = (): string => randomBytes(8).toString('hex').toUpperCase();

export function sendXml(
  response: ServerResponse,
  status: number,
  xml: string,
  headers: Record<string, string> = {},
): void {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n${xml}\n`;
  response.writeHead(status, {
    'Content-Type': 'application/xml',
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    ...headers,
  });
  response.end(body); // to a HEAD, Node sends none of it
}

/** `resource`: `/bucket/key`, as S3 says it. */
export function sendS3Error(
  response: ServerResponse,
  { status, code, message }: Refusal,
  resource: string,
  headers: Record<string, string> = {},
): void {
  const id = newRequestId();
  const xml = `<Error>${element('Code', code)}${element('Message', message)}${element('Resource', resource)}${element('RequestId', id)}</Error>`;
  sendXml(response, status, xml, { 'x-amz-request-id': id, ...headers });
}
