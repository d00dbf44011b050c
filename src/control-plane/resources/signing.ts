// AWS signatures are made in Envoy, in the listeners: behind an aggregate cluster an upstream filter is silently skipped.
// Apps, queue and control plane hold no credentials; Envoy takes them from the standard variables and files.

import { bucketHosts } from '../../policy/bucket.ts';
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

/** The bucket in the host's name goes before the path, as policy/bucket.ts has it. */
const bucketIntoPath = (destination: Destination): string[] => {
  const bases = bucketHosts(destination);
  if (bases.length === 0) return [];
  const exact = destination.hosts.filter((host) => !host.startsWith('*.'));
  return [
    '  local host = string.lower((string.gsub(headers:get(":authority"), ":%d*$", "")))',
    `  headers:remove("${PREFIX_HEADER}")`,
    `  local exact = {${exact.map((host) => `[${JSON.stringify(host)}] = true`).join(', ')}}`,
    `  for _, base in ipairs({${bases.map((base) => JSON.stringify(`.${base}`)).join(', ')}}) do`,
    '    if not exact[host] and string.sub(host, -#base) == base then',
    '      local prefix = "/" .. string.sub(host, 1, -#base - 1)',
    `      headers:replace("${PREFIX_HEADER}", prefix)`,
    '      headers:replace(":path", prefix .. headers:get(":path"))',
    '      break',
    '    end',
    '  end',
  ];
};

/** For routes of apps: what is to be done before the signature is made, which rewrites the host. The authority that the app called is
 *  noted for the queue, and the path of the upstream URL, or the bucket, is put before the path, which is noted too. Empty where nothing is. */
function beforeSigning(destination: Destination): object {
  const signs = destination.upstream.sign !== undefined;
  const { path } = upstreamOf(destination);
  const bucket = bucketIntoPath(destination);
  if (!signs && bucket.length === 0) return {};
  return {
    [LUA_FILTER]: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute',
      source_code: {
        inline_string: [
          'function envoy_on_request(handle)',
          '  local headers = handle:headers()',
          `  headers:replace("${HOST_HEADER}", headers:get(":authority"))`,
          ...(signs && path
            ? [
                `  headers:replace("${PREFIX_HEADER}", ${JSON.stringify(path)})`,
                `  headers:replace(":path", ${JSON.stringify(path)} .. headers:get(":path"))`,
              ]
            : []),
          ...bucket,
          'end',
        ].join('\n'),
      },
    },
  };
}

/** The per-route configuration that signs for this destination, where its policy asks for it; undefined: there is nothing to do. */
export function signingConfig(destination: Destination, { fromApp }: { fromApp: boolean }) {
  const before = fromApp ? beforeSigning(destination) : {};
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
        use_unsigned_payload: true,
        host_rewrite: authority,
        match_excluded_headers: EXCLUDED,
        credential_provider: CREDENTIALS,
      },
    },
  };
}
