// The certificate of injected sidecars, as a Secret: `kubectl apply` takes it.

import { stringify } from 'yaml';
import type { Credential } from '../identity/authority.ts';
import { credentialFiles } from '../identity/files.ts';
import { LaybyError } from '../telemetry/error.ts';
import { IDENTITY_DIR } from './containers.ts';

/** `where`: `NAMESPACE/NAME`; `roots`: PEM. Errors: LAYBY_IDENTITY_INVALID. */
export function identitySecret(where: string, id: string, credential: Credential, roots: string): string {
  const [, namespace, name] = /^([a-z0-9-]+)\/([a-z0-9.-]+)$/.exec(where) ?? [];
  if (!namespace || !name) {
    throw new LaybyError('LAYBY_IDENTITY_INVALID', `"${where}" is not the place of a Secret`, {
      remedy: 'write NAMESPACE/NAME, like vehicle-apps/layby-camera',
    });
  }
  return stringify(
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: {
        namespace,
        name,
        annotations: {
          'layby.dev/identity': id,
          'layby.dev/expires': new Date(credential.expiresAt).toISOString(),
        },
      },
      type: 'Opaque',
      stringData: Object.fromEntries(credentialFiles(IDENTITY_DIR, credential, roots)),
    },
    { lineWidth: 0 },
  );
}
