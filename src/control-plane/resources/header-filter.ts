// What is taken off every request, on every way and whatever its route: headers that are Layby's to set, and what no trailer may say. A
// server that merges trailers into the headers would take it for the head of this request or the next: how a body is framed, where
// it goes, who sends it (RFC 9110 section 6.5.1).

import { OWN_HEADER_PATTERN, PROTOCOL_HEADER, TOLD_HEADER_PATTERN } from '../../wire/names.ts';
import type { Resource } from './resource.ts';

const TRAILERS = [
  // Framing, and the connection.
  ...['content-length', 'transfer-encoding', 'content-encoding', 'trailer', 'te'],
  ...['connection', 'keep-alive', 'proxy-connection', 'upgrade', 'expect', 'max-forwards'],
  // Where to, and who.
  ...['host', 'authorization', 'proxy-authorization', 'cookie'],
];

const TRAILER_PREFIXES = ['layby-', 'layby_', 'x-amz-meta-layby-', 'x-forwarded-', 'x-envoy-'];

const remove = (key_matcher: object) => ({ remove_on_match: { key_matcher } });

export const HEADER_FILTER = 'envoy.filters.http.header_mutation';

/** In every listener, behind the choice of the route and before what signs or adds: so a route only adds. `from`: the queue says more than an
 *  app may, what is for the destination to know of a stream. */
export const headerFilter = (from: 'apps' | 'queue'): Omit<Resource, 'name'> & { name: string } => ({
  name: HEADER_FILTER,
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation',
    mutations: {
      request_mutations: [
        remove({ safe_regex: { regex: OWN_HEADER_PATTERN } }),
        ...(from === 'apps' ? [remove({ safe_regex: { regex: TOLD_HEADER_PATTERN } })] : []),
      ],
      request_trailers_mutations: [
        ...TRAILERS.map((name) => ({ remove: name })),
        ...TRAILER_PREFIXES.map((prefix) => remove({ prefix })),
      ],
    },
  },
});

/** Before the choice of the route, which cannot see it otherwise. */
export const protocolNoted = {
  early_header_mutation_extensions: [
    {
      name: 'envoy.http.early_header_mutation.header_mutation',
      typed_config: {
        '@type':
          'type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation',
        mutations: [
          {
            append: {
              header: { key: PROTOCOL_HEADER, value: '%PROTOCOL%' },
              append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
            },
          },
        ],
      },
    },
  ],
};
