// Who is at the other end of a stream. On a Unix socket or the loopback it is this machine, and may be anyone; over TLS it is who its
// certificate says, and nobody else.

import * as grpc from '@grpc/grpc-js';
import { idOfNames } from '../../identity/spiffe.ts';
import { LaybyError, messageOf } from '../../telemetry/error.ts';

/** What is asked of a call. */
export type Peered = Pick<grpc.ServerUnaryCall<unknown, unknown>, 'getAuthContext'>;

/** undefined: this machine. Otherwise the SPIFFE id, or '' where the certificate has none. */
export function peerId(call: Peered): string | undefined {
  const { transportSecurityType, sslPeerCertificate } = call.getAuthContext() ?? {};
  if (transportSecurityType === undefined) return undefined;
  return idOfNames(sslPeerCertificate?.subjectaltname) ?? '';
}

/** What a gRPC call ends with. */
export const refusal = (code: grpc.status, details: string): Error =>
  Object.assign(new Error(details), { code, details });

/** What was thrown, as a gRPC call ends with it. */
export const asRefusal = (thrown: unknown): Error =>
  thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'number'
    ? thrown
    : refusal(
        thrown instanceof LaybyError ? grpc.status.INVALID_ARGUMENT : grpc.status.INTERNAL,
        messageOf(thrown),
      );

/** Why this peer may not be `id` here; undefined where it may. */
export function notThat(peer: string | undefined, id: string | undefined): Error | undefined {
  if (peer === undefined || (id !== undefined && peer === id)) return undefined;
  const who = peer === '' ? 'no SPIFFE id' : peer;
  return refusal(
    grpc.status.PERMISSION_DENIED,
    `the certificate is for ${who}, and this is for ${id ?? 'this machine only'}`,
  );
}
