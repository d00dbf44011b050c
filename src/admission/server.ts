// Admission webhooks of Kubernetes: HTTPS, AdmissionReview v1 in and out. What is judged, and how, is for the reviewers, one a path.

import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { timerMs } from '../platform/timer.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { type Address, formatAddress } from '../wire/address.ts';
import { listen } from '../wire/http.ts';
import { answering, readJson, sendJson, targetOf } from '../wire/http-server.ts';

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

/** A certificate and its key, PEM. */
export interface Pair {
  cert: string;
  key: string;
}

interface PairFiles {
  /** PEM files; they may be replaced at any time. */
  certificate: string;
  key: string;
}

interface Listening {
  listen: Address;
  /** By path. `/healthz` and `/readyz` are answered beside them. */
  reviewers: Record<string, Reviewer>;
  /** Why it is not ready, for `/readyz`; undefined: it is. */
  notReady?: () => string | undefined;
  log: Logger;
  /** Between two looks at the certificate's files, ms. */
  look?: number;
}

export interface AdmissionOptions extends Listening, PairFiles {}

type Options = AdmissionOptions | (Listening & { pair: Pair });

export interface Admission {
  address: Address;
  /** For the connections from now on. */
  replace(pair: Pair): void;
  close(): void;
}

/** Errors: LAYBY_IDENTITY_INVALID where the certificate cannot be used, LAYBY_ADDRESS_IN_USE. */
export async function serveAdmission(options: Options): Promise<Admission> {
  const { log } = options;
  const files = 'pair' in options ? undefined : options;
  const first = 'pair' in options ? options.pair : await readPair(options);
  let server: Server;
  try {
    server = createServer(first);
  } catch (cause) {
    throw unusable(files?.certificate ?? 'memory', cause);
  }
  server.on(
    'request',
    answering(
      (request, response) => answer(options, request, response),
      (err, { code }) => {
        if (code === 'LAYBY_INTERNAL') log.error({ err }, 'admission review failed');
      },
    ),
  );
  try {
    await listen(server, options.listen);
  } catch (cause) {
    throw new LaybyError(
      'LAYBY_ADDRESS_IN_USE',
      `cannot listen on ${formatAddress(options.listen)}: ${messageOf(cause)}`,
      { remedy: 'end what uses it, or choose another address for the webhook', cause },
    );
  }
  const stopWatching = files ? watchPair({ ...options, ...files }, first, server) : () => {};
  const address = server.address();
  return {
    address:
      address !== null && typeof address === 'object'
        ? { host: address.address, port: address.port }
        : options.listen,
    replace: (pair) => server.setSecureContext(pair),
    close() {
      stopWatching();
      server.closeAllConnections();
      server.close();
    },
  };
}

const unusable = (certificate: string, cause: unknown): LaybyError =>
  new LaybyError(
    'LAYBY_IDENTITY_INVALID',
    `the certificate in ${certificate} cannot be used: ${messageOf(cause)}`,
    {
      remedy: 'name a certificate and its key, both PEM, of the address that the API server calls',
      cause,
    },
  );

async function readPair(options: PairFiles): Promise<Pair> {
  try {
    const [cert, key] = await Promise.all([
      readFile(options.certificate, 'utf8'),
      readFile(options.key, 'utf8'),
    ]);
    return { cert, key };
  } catch (cause) {
    throw unusable(options.certificate, cause);
  }
}

/** By looking: a Secret's files are links that change under a watch. */
function watchPair(options: AdmissionOptions, first: Pair, server: Server): () => void {
  let inUse = first;
  const timer = setInterval(
    async () => {
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
    },
    timerMs(options.look ?? FILES_LOOK),
  ).unref();
  return () => clearInterval(timer);
}

async function answer(
  { reviewers, notReady, log }: Listening,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { path } = targetOf(request);
  if (path === '/healthz') return void response.end('ok\n');
  if (path === '/readyz') {
    const why = notReady?.();
    response.statusCode = why === undefined ? 200 : 503;
    return void response.end(`${why ?? 'ready'}\n`);
  }
  const reviewer = Object.hasOwn(reviewers, path) ? reviewers[path] : undefined;
  if (!reviewer || request.method !== 'POST')
    throw new LaybyError('LAYBY_NOT_FOUND', `nothing answers ${request.method} ${path}`, {
      remedy: `POST an AdmissionReview to ${Object.keys(reviewers).join(' or ')}`,
    });
  const asked = requestIn(await readJson(request, BODY_BYTES));
  if (!asked)
    throw new LaybyError(
      'LAYBY_REQUEST_INVALID',
      'no AdmissionReview of admission.k8s.io/v1 with a request',
      { remedy: 'write admissionReviewVersions: [v1] in the webhook configuration' },
    );
  const verdict = await reviewer(asked);
  if (verdict.refused) log.warn({ namespace: asked.namespace, why: verdict.refused }, 'refused');
  sendJson(response, 200, {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: responseTo(asked, verdict),
  });
}

interface AdmissionReview {
  kind?: unknown;
  apiVersion?: unknown;
  request?: Partial<AdmissionRequest> | null;
}

/** undefined where it is none, or would not have the types that reviewers trust. */
function requestIn(body: unknown): AdmissionRequest | undefined {
  const { kind, apiVersion, request } = (body ?? {}) as AdmissionReview;
  if (kind !== 'AdmissionReview' || apiVersion !== 'admission.k8s.io/v1') return undefined;
  if (typeof request?.uid !== 'string') return undefined;
  const { kind: of = { kind: '' }, namespace, object, oldObject } = request as Partial<AdmissionRequest>;
  const objects = [of, object ?? {}, oldObject ?? {}];
  if (objects.some((value) => typeof value !== 'object' || value === null)) return undefined;
  if (namespace !== undefined && typeof namespace !== 'string') return undefined;
  return { ...(request as AdmissionRequest), kind: of };
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
