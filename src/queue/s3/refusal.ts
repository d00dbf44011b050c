// What an S3 client may ask that must not be stored as it stands: better an error that it understands than an object that
// is wrong. Errors are S3's XML, without Retry-After (several clients hang for as long as it says).

import type { IncomingMessage, ServerResponse } from 'node:http';

export interface S3Refusal {
  status: number;
  code: string;
  message: string;
}

/** A part of a multipart upload belongs to an upload id that only the server can give: it is passed on, never stored. */
export const isMultipart = (url: string): boolean => /[?&](uploads|uploadId)(=|&|$)/.test(url);

export const NO_LINK: S3Refusal = {
  status: 503,
  code: 'ServiceUnavailable',
  message:
    'Layby has no link, and a multipart upload is not stored. Please try again, or upload in one piece.',
};

/** The body is framed in signed or checksummed chunks: what is signed anew here would store the frames as data. */
export function framedBody(request: IncomingMessage): S3Refusal | undefined {
  const framed =
    String(request.headers['x-amz-content-sha256'] ?? '').startsWith('STREAMING-') ||
    /\baws-chunked\b/i.test(request.headers['content-encoding'] ?? '');
  if (!framed) return undefined;
  return {
    status: 501,
    code: 'NotImplemented',
    message:
      'Layby does not take aws-chunked bodies yet. Have the client send the payload unframed: for SDKs, request_checksum_calculation=when_required.',
  };
}

export function sendS3Error(response: ServerResponse, { status, code, message }: S3Refusal): void {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>\n`;
  response.writeHead(status, {
    'content-type': 'application/xml',
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
  });
  response.end(body);
}
