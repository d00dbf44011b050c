// The validating webhook: what `layby policy check` would say of an object, said to kubectl before the object is there. It only spares
// the operator a round: the control plane judges everything again, so the webhook may be away.

import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import { type Finding, type PolicyObject, words } from '../policy/sources/kubernetes/objects.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Address } from '../wire/address.ts';
import { listen } from '../wire/http.ts';

/** etcd holds no larger object; the review has it twice, bytes. */
const MAX_REVIEW_BYTES = 4 * 1024 * 1024;
/** How often the files are looked at: cert-manager renews them weeks before they end, ms. */
const FILES_LOOK_MS = 60_000;

/** Two PEM files. */
export interface WebhookFiles {
  certificate: string;
  key: string;
}

interface Review {
  request?: {
    uid: string;
    kind: { kind: string };
    namespace?: string;
    object?: Partial<PolicyObject> | null;
  };
}

async function pemOf({ certificate, key }: WebhookFiles): Promise<{ cert: string; key: string }> {
  try {
    return { cert: await readFile(certificate, 'utf8'), key: await readFile(key, 'utf8') };
  } catch (error) {
    throw new LaybyError(
      'LAYBY_IDENTITY_INVALID',
      `the webhook's certificate cannot be read: ${messageOf(error)}`,
      { remedy: 'name two PEM files with --webhook-certificate and --webhook-key', cause: error },
    );
  }
}

function reviewed(text: string, judge: (object: PolicyObject) => readonly Finding[]): unknown {
  const { request } = JSON.parse(text) as Review;
  if (!request) throw new LaybyError('LAYBY_REQUEST_INVALID', 'this is no AdmissionReview');
  const { uid, kind, namespace = '', object } = request;
  const findings = object
    ? judge({
        kind: kind.kind,
        spec: object.spec,
        metadata: {
          uid: '',
          resourceVersion: '',
          generation: 0,
          creationTimestamp: '',
          name: '',
          ...object.metadata,
          namespace,
        },
      })
    : [];
  const refusal = {
    status: {
      code: 422,
      reason: 'Invalid',
      message: `${words(findings)}\ncorrect these places; what is in force stays in force`,
    },
  };
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: { uid, allowed: findings.length === 0, ...(findings.length > 0 && refusal) },
  };
}

export interface Webhook {
  address: Address;
  close(): void;
}

/** Answers AdmissionReviews at any path. Errors: LAYBY_ADDRESS_IN_USE, LAYBY_IDENTITY_INVALID. */
export async function serveAdmission(
  address: Address,
  files: WebhookFiles,
  judge: (object: PolicyObject) => readonly Finding[],
  log: Logger,
): Promise<Webhook> {
  let pem = await pemOf(files);
  const server: Server = createServer(pem, (request, response) => {
    const pieces: Buffer[] = [];
    let bytes = 0;
    request.on('data', (piece: Buffer) => {
      bytes += piece.length;
      if (bytes <= MAX_REVIEW_BYTES) pieces.push(piece);
      else request.destroy();
    });
    request.on('end', () => {
      try {
        const answer = JSON.stringify(reviewed(Buffer.concat(pieces).toString(), judge));
        response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
      } catch (error) {
        // The API server then goes on as its failurePolicy says.
        log.warn({ err: error }, 'a review cannot be answered');
        response.writeHead(400, { 'content-type': 'text/plain' }).end(`${messageOf(error)}\n`);
      }
    });
  });
  server.on('tlsClientError', (error) => log.debug({ err: error }, 'webhook: no TLS'));
  const looking = setInterval(() => {
    pemOf(files)
      .then((newer) => {
        if (newer.cert === pem.cert && newer.key === pem.key) return;
        server.setSecureContext(newer);
        pem = newer;
        log.info('the webhook has a newer certificate');
      })
      // In the middle of a renewal the two may not fit: the one before goes on.
      .catch((error) => log.warn({ err: error }, "the webhook's certificate cannot be renewed"));
  }, FILES_LOOK_MS).unref();
  return {
    address: await listen(server, address),
    close() {
      clearInterval(looking);
      server.closeAllConnections();
      server.close();
    },
  };
}
