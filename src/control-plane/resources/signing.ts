// AWS signatures are made in Envoy, in the listeners: behind an aggregate cluster an upstream filter is silently skipped.
// Apps, queue and control plane hold no credentials; Envoy takes them from the standard variables and files.

import type { Destination } from '../../policy/policy.ts';
import { signsBody } from '../../policy/signature.ts';
import { beforeSigning, beforeSigningFilter } from './before-signing.ts';
import { upstreamOf } from './clusters.ts';
import { oneOf } from './matches.ts';

const SIGNING_FILTER = 'envoy.filters.http.aws_request_signing';

const TYPE = 'type.googleapis.com/envoy.extensions.filters.http.aws_request_signing.v3';

/** What Envoy's router or a later hop adds or changes after the signature was made. */
const EXCLUDED = [
  { prefix: 'x-envoy-' },
  { prefix: 'x-forwarded-' },
  { prefix: 'layby-' },
  { prefix: 'layby_' },
  { exact: 'expect' },
  { exact: 'te' },
  { exact: 'trailer' },
  { exact: 'connection' },
  { exact: 'keep-alive' },
  { exact: 'accept-encoding' },
  { exact: 'user-agent' },
  { exact: 'authorization' },
  // Several of them are not joined by a comma.
  { exact: 'cookie' },
];

/** The standard variables and files, and no more: Envoy's default would also ask a cloud's metadata address on every link. */
const CREDENTIALS = {
  custom_credential_provider_chain: true,
  environment_credential_provider: {},
  credentials_file_provider: {},
};

/** Filters in the order of the listener. Both do nothing unless a route asks for them. */
export const signingFilters = () => [
  beforeSigningFilter,
  {
    name: SIGNING_FILTER,
    disabled: true,
    typed_config: {
      '@type': `${TYPE}.AwsRequestSigning`,
      service_name: 's3',
      region: 'us-east-1',
      use_unsigned_payload: true,
      credential_provider: CREDENTIALS,
    },
  },
];

/** A form of a browser, by which S3 takes an upload (POST Object). It has a signature of its own, over its policy: a second one would be
 *  refused. undefined: the destination is none that is signed for S3. */
export const formOfS3 = ({ upstream }: Destination): object[] | undefined =>
  upstream.sign?.aws.service === 's3'
    ? [
        { name: 'content-type', string_match: { prefix: 'multipart/form-data', ignore_case: true } },
        oneOf(['POST']),
      ]
    : undefined;

/** The per-route configuration that signs for this destination, where its policy asks for it; undefined: there is nothing to do. */
export function signingConfig(
  destination: Destination,
  { fromApp, conversation = false }: { fromApp: boolean; conversation?: boolean },
) {
  const before = beforeSigning(destination, { fromApp });
  const aws = destination.upstream.sign?.aws;
  if (!aws) return Object.keys(before).length > 0 ? before : undefined;
  const { authority } = upstreamOf(destination);
  return {
    ...before,
    [SIGNING_FILTER]: {
      '@type': `${TYPE}.AwsRequestSigningPerRoute`,
      stat_prefix: destination.name,
      aws_request_signing: {
        service_name: aws.service,
        region: aws.region,
        // What has no end cannot be held until then.
        use_unsigned_payload: conversation || !signsBody(destination),
        host_rewrite: authority,
        match_excluded_headers: EXCLUDED,
        credential_provider: CREDENTIALS,
      },
    },
  };
}
