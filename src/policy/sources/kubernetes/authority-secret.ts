// The Secret with the roots of the mesh and their keys, which the cluster part alone reads: `authority.json`, as it is on a machine without a cluster.

import { AUTHORITY_FILE, newAuthority, parseAuthority, type Saved } from '../../../identity/authority.ts';
import { LaybyError } from '../../../telemetry/error.ts';
import type { Api } from './api.ts';
import { hasStatus, orNone } from './refusal.ts';

export interface AuthoritySecretOptions {
  api: Api;
  namespace: string;
  name: string;
  /** Made where there is none. */
  makes: boolean;
  trustDomain: string;
}

/** `known`: what is made where it was deleted, so that trust stays. Errors: KubernetesError, LAYBY_AUTHORITY_UNUSABLE. */
export async function readAuthoritySecret(
  options: AuthoritySecretOptions,
  known: Saved | undefined,
): Promise<Saved> {
  const { api, namespace, name, makes, trustDomain } = options;
  const all = `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets`;
  const path = `${all}/${encodeURIComponent(name)}`;
  const where = `the Secret ${namespace}/${name}`;
  const unusable = (reason: string, remedy: string) =>
    new LaybyError(
      'LAYBY_AUTHORITY_UNUSABLE',
      `the certificate authority in ${where} cannot be used: ${reason}`,
      { remedy },
    );
  for (;;) {
    const found = (await api.get(path).catch(orNone(404))) as { data?: Record<string, string> } | undefined;
    if (found) {
      const text = found.data?.[AUTHORITY_FILE];
      if (text === undefined)
        throw unusable(
          `it has no ${AUTHORITY_FILE}`,
          'put the file there, or name another in cluster.authoritySecret',
        );
      const saved = await parseAuthority(Buffer.from(text, 'base64').toString(), where);
      if (saved.trustDomain === trustDomain) return saved;
      throw unusable(
        `it is for the trust domain ${saved.trustDomain}, not ${trustDomain}`,
        'set trustDomain of the chart',
      );
    }
    if (!makes) throw unusable('there is none', 'make it, or leave cluster.authoritySecret empty');
    const made = known ?? (await newAuthority(trustDomain));
    try {
      await api.post(all, {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: {
          name,
          labels: { 'app.kubernetes.io/name': 'layby', 'app.kubernetes.io/managed-by': 'layby' },
        },
        data: { [AUTHORITY_FILE]: Buffer.from(`${JSON.stringify(made)}\n`).toString('base64') },
      });
      return made;
    } catch (error) {
      // Another replica was first: what it wrote counts.
      if (!hasStatus(error, 409)) throw error;
    }
  }
}
