// Admission webhooks of Kubernetes: HTTPS, AdmissionReview v1 in and out. What is judged, and how, is for the reviewers, one a path.

import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { type Address, formatAddress } from '../wire/address.ts';
import { listen } from '../wire/http.ts';

/** Twice what etcd takes of one object, for the old one beside the new, and what is around them, bytes. */
const BODY_BYTES = 4 * 1024 * 1024;
/** ms */
const FILES_LOOK = 10_000;

/** https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/ */
export interface AdmissionRequest {
  uid: string;
  kind: { kind: string };
  operation: string;
  namespace?: string;
  object: unknown;
  oldObject?: unknown;
}

export interface Verdict {
  /** Why not; undefined: allowed. */
  refused?: string;
  /** RFC 6902. */
  patch?: readonly object[];
  /** Shown by kubectl. */
  warnings?: readonly string[];
}

export type Reviewer = (request: AdmissionRequest) => Verdict | Promise<Verdict>;

export interface AdmissionOptions {
  listen: Address;
  /** PEM files; they may be replaced at any time. */
  certificate: string;
  key: string;
  /** By path. `/healthz` is answered beside them. */
  reviewers: Record<string, Reviewer>;
  log: Logger;
  /** Between two looks at the certificate's files, ms. */
  look?: number;
}

export interface Admission {
  address: Address;
  close(): void;
}

/** Errors: LAYBY_IDENTITY_INVALID where the certificate cannot be used, LAYBY_ADDRESS_IN_USE. */
export async function serveAdmission(options: AdmissionOptions): Promise<Admission> {
  const { log } = options;
  const files = await readPair(options);
  let server: Server;
  try {
    server = createServer(files);
  } catch (cause) {
    throw unusable(options, cause);
  }
  server.on('request', (request, response) => {
    answer(options, request, response).catch((err) => {
      log.error({ err }, 'an admission review failed');
      response.writeHead(500).end();
    });
  });
  try {
    await listen(server, options.listen);
  } catch (cause) {
    throw new LaybyError(
      'LAYBY_ADDRESS_IN_USE',
      `cannot listen on ${formatAddress(options.listen)}: ${messageOf(cause)}`,
      { remedy: 'end what uses it, or choose another address for the webhook', cause },
    );
  }
  const stopWatching = watchPair(options, files, server);
  const address = server.address();
  return {
    address:
      address !== null && typeof address === 'object'
        ? { host: address.address, port: address.port }
        : options.listen,
    close() {
      stopWatching();
      server.closeAllConnections();
      server.close();
    },
  };
}

interface Pair {
  cert: string;
  key: string;
}

const unusable = ({ certificate }: AdmissionOptions, cause: unknown): LaybyError =>
  new LaybyError(
    'LAYBY_IDENTITY_INVALID',
    `the certificate in ${certificate} cannot be used: ${messageOf(cause)}`,
    {
      remedy: 'name a certificate and its key, both PEM, of the address that the API server calls',
      cause,
    },
  );

async function readPair(options: AdmissionOptions): Promise<Pair> {
  try {
    const [cert, key] = await Promise.all([
      readFile(options.certificate, 'utf8'),
      readFile(options.key, 'utf8'),
    ]);
    return { cert, key };
  } catch (cause) {
    throw unusable(options, cause);
  }
}

/** By looking: a Secret's files are links that change under a watch. */
function watchPair(options: AdmissionOptions, first: Pair, server: Server): () => void {
  let inUse = first;
  const timer = setInterval(async () => {
    try {
      const pair = await readPair(options);
      if (pair.cert === inUse.cert && pair.key === inUse.key) return;
      server.setSecureContext(pair);
      inUse = pair;
      options.log.info('a new certificate is in use');
    } catch (err) {
      // One file may be newer than the other for a moment.
      options.log.warn({ err }, 'the certificate cannot be read anew; the one before stays');
    }
  }, options.look ?? FILES_LOOK).unref();
  return () => clearInterval(timer);
}

async function answer(
  { reviewers, log }: AdmissionOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname } = new URL(request.url ?? '/', 'https://webhook');
  if (pathname === '/healthz') return void response.end('ok\n');
  const reviewer = Object.hasOwn(reviewers, pathname) ? reviewers[pathname] : undefined;
  if (!reviewer || request.method !== 'POST') return void response.writeHead(404).end();
  const body = await bodyOf(request);
  if (body === undefined) return void response.writeHead(413, { connection: 'close' }).end();
  const asked = requestIn(body);
  if (!asked)
    return void response.writeHead(400).end('no admission.k8s.io/v1 AdmissionReview with a request\n');
  const verdict = await reviewer(asked);
  if (verdict.refused) log.warn({ namespace: asked.namespace, why: verdict.refused }, 'refused');
  response.writeHead(200, { 'content-type': 'application/json' }).end(
    JSON.stringify({
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: responseTo(asked, verdict),
    }),
  );
}

async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function requestIn(body: string): AdmissionRequest | undefined {
  try {
    const review = JSON.parse(body) as {
      kind?: string;
      apiVersion?: string;
      request?: AdmissionRequest;
    } | null;
    if (review?.kind !== 'AdmissionReview' || review.apiVersion !== 'admission.k8s.io/v1') return undefined;
    return typeof review.request?.uid === 'string' ? review.request : undefined;
  } catch {
    return undefined;
  }
}

const responseTo = ({ uid }: AdmissionRequest, { refused, patch = [], warnings = [] }: Verdict): object => ({
  uid,
  allowed: refused === undefined,
  ...(refused !== undefined && { status: { code: 422, message: refused } }),
  ...(refused === undefined &&
    patch.length > 0 && {
      patchType: 'JSONPatch',
      patch: Buffer.from(JSON.stringify(patch)).toString('base64'),
    }),
  ...(warnings.length > 0 && { warnings }),
});
