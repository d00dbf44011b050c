// What the app is told once its request is safe. One file a kind; the policy chooses, `auto` by what the client can bear.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Destination, ReceiptKind } from '../../policy/policy.ts';
import type { Entry } from '../../store/store.ts';
import { accepted } from './accepted.ts';
import { redirect } from './redirect.ts';
import { s3 } from './s3.ts';

export type Receipt = (response: ServerResponse, entry: Entry) => void;
export type ConcreteReceipt = Exclude<ReceiptKind, 'auto'>;

export const RECEIPTS: Record<ConcreteReceipt, Receipt> = { redirect, accepted, s3 };

/** S3 SDKs cannot follow a redirect; they sign, or say so in the user agent. */
export function speaksS3(request: IncomingMessage): boolean {
  const { authorization = '', 'user-agent': agent = '' } = request.headers;
  return (
    authorization.startsWith('AWS4-HMAC-SHA256') ||
    'x-amz-content-sha256' in request.headers ||
    'x-amz-date' in request.headers ||
    /\b(aws-sdk|boto|botocore|minio|s3cmd|rclone)/i.test(agent)
  );
}

export function receiptFor(destination: Destination, request: IncomingMessage): ConcreteReceipt {
  const { receipt } = destination.store;
  if (receipt !== 'auto') return receipt;
  return speaksS3(request) ? 's3' : 'redirect';
}
