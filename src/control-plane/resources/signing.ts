// AWS signatures are made in Envoy, in the listeners: behind an aggregate cluster an upstream filter is silently skipped.
// Apps, queue and control plane hold no credentials; Envoy takes them from the standard variables and files.

import type { Destination } from '../../policy/policy.ts';
import { HOST_HEADER, PREFIX_HEADER } from '../../wire/names.ts';
import { upstreamOf } from './clusters.ts';

export const SIGNING_FILTER = 'envoy.filters.http.aws_request_signing';
export const LUA_FILTER = 'envoy.filters.http.lua';

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
];

/** The standard variables and files, and no more: Envoy's default would also ask a cloud's metadata address on every link. */
const CREDENTIALS = {
  custom_credential_provider_chain: true,
  environment_credential_provider: {},
  credentials_file_provider: {},
};

/** Envoy's own path encoding signs what is unreserved, `/` and upper-case escapes as S3 does; a raw sub-delimiter beside
 *  escapes, an escaped unreserved character or an escaped slash gets a 403. Paths outside this pattern are left to the queue, which makes
 *  them canonical. RE2, whole path and query. */
export const SIGNABLE_PATH =
  '^/([A-Za-z0-9/_.-]|%(2[0-9A-C]|3[A-F]|40|5[B-E]|60|7[BCD]|7F|[013][0-9A-F]|[89A-F][0-9A-F]))*(\\?.*)?$';

/** Filters in the order of the listener. Both do nothing unless a route asks for them. */
export const signingFilters = () => [
  {
    name: LUA_FILTER,
    disabled: true,
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua',
      // The path that it makes is not the one that the app called, and that alone chooses the route.
      clear_route_cache: false,
    },
  },
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

/** The per-route configuration that signs for this destination; undefined where its policy does not ask for it.
 *  `fromApp`: before the signature is made (which rewrites the host), the authority that the app called is noted for the
 *  queue, and the path of the upstream URL is put before the path, which is noted too. */
export function signingConfig(destination: Destination, { fromApp }: { fromApp: boolean }) {
  const aws = destination.upstream.sign?.aws;
  if (!aws) return undefined;
  const { authority, path } = upstreamOf(destination);
  return {
    [SIGNING_FILTER]: {
      '@type': `${TYPE}.AwsRequestSigningPerRoute`,
      stat_prefix: destination.name,
      aws_request_signing: {
        service_name: aws.service,
        region: aws.region,
        use_unsigned_payload: true,
        host_rewrite: authority,
        match_excluded_headers: EXCLUDED,
        credential_provider: CREDENTIALS,
      },
    },
    ...(fromApp
      ? {
          [LUA_FILTER]: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute',
            source_code: {
              inline_string: [
                'function envoy_on_request(handle)',
                '  local headers = handle:headers()',
                `  headers:replace("${HOST_HEADER}", headers:get(":authority"))`,
                ...(path
                  ? [
                      `  headers:replace("${PREFIX_HEADER}", ${JSON.stringify(path)})`,
                      `  headers:replace(":path", ${JSON.stringify(path)} .. headers:get(":path"))`,
                    ]
                  : []),
                'end',
              ].join('\n'),
            },
          },
        }
      : {}),
  };
}
