// What no trailer may say. A server that merges trailers into the headers would take it for the head of this request or the
// next: how a body is framed, where it goes, who sends it (RFC 9110 section 6.5.1), and what is Layby's to say.

import type { Resource } from './resource.ts';

const NAMES = [
  // Framing, and the connection.
  ...['content-length', 'transfer-encoding', 'content-encoding', 'trailer', 'te'],
  ...['connection', 'keep-alive', 'proxy-connection', 'upgrade', 'expect', 'max-forwards'],
  // Where to, and who.
  ...['host', 'authorization', 'proxy-authorization', 'cookie'],
];

const PREFIXES = ['layby-', 'layby_', 'x-forwarded-', 'x-envoy-'];

export const TRAILER_FILTER = 'envoy.filters.http.header_mutation';

/** Takes them off on every way, whatever the route; all other trailers stay. */
export const trailerFilter: Omit<Resource, 'name'> & { name: string } = {
  name: TRAILER_FILTER,
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation',
    mutations: {
      request_trailers_mutations: [
        ...NAMES.map((remove) => ({ remove })),
        ...PREFIXES.map((prefix) => ({ remove_on_match: { key_matcher: { prefix } } })),
      ],
    },
  },
};
