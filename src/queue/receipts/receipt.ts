// What the app is told once its request is safe. One file a kind; the policy chooses, `auto` by what the client can bear.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Destination, ReceiptKind } from '../../policy/policy.ts';
import type { Entry } from '../../store/store.ts';
import { HOST_HEADER } from '../../wire/names.ts';
import { preferenceOf } from '../prefer.ts';
import { isPresigned } from '../presigned.ts';
import { accepted } from './accepted.ts';
import { redirect } from './redirect.ts';
import { respondAsync } from './respond-async.ts';
import { s3 } from './s3.ts';

export type Receipt = (response: ServerResponse, entry: Entry) => void;
export type ConcreteReceipt = Exclude<ReceiptKind, 'auto'> | 'respondAsync';

export const RECEIPTS: Record<ConcreteReceipt, Receipt> = { redirect, accepted, s3, respondAsync };

const SDK = /\b(aws-sdk|aws-cli|boto|botocore|minio|s3cmd|rclone|object_store)/i;

/** S3 SDKs cannot follow a redirect; they sign, in a header or in the URL, or say who they are. What comes by failover was signed by the sidecar. */
export function speaksS3(request: IncomingMessage, destination: Destination): boolean {
  const { headers } = request;
  if (SDK.test(headers['user-agent'] ?? '')) return true;
  const signedBySidecar = destination.upstream.sign !== undefined && HOST_HEADER in headers;
  if (signedBySidecar) return false;
  return (
    isPresigned(request.url ?? '') ||
    (headers.authorization ?? '').startsWith('AWS4-HMAC-SHA256') ||
    'x-amz-content-sha256' in headers ||
    'x-amz-date' in headers
  );
}

export function receiptFor(destination: Destination, request: IncomingMessage): ConcreteReceipt {
  if (preferenceOf(request).respondAsync) return 'respondAsync';
  const { receipt } = destination.store;
  if (receipt !== 'auto') return receipt;
  return speaksS3(request, destination) ? 's3' : 'redirect';
}
