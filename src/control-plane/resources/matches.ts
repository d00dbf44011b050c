// Which requests a route is for.

import type { Rule } from '../../policy/policy.ts';

export type Match = (
  | { prefix: string }
  | { path: string }
  | { safe_regex: { regex: string } }
  | { connect_matcher: object }
) & {
  headers?: object[];
  query_parameters?: object[];
  runtime_fraction?: object;
};

type More = Pick<Match, 'headers' | 'query_parameters' | 'runtime_fraction'>;

/** A match with more to it. */
export type Where = (more?: More) => Match;

export const anyPath: Where = (more = {}) => ({ prefix: '/', ...more });

/** As the queue reads an authority (policy/match.ts), a trailing dot apart. Envoy would let a user, an empty label or any port
 *  pass under a wildcard: with a link they would work, and without one be refused. */
const HOST = '(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*)';
const PORT = '(:[0-9]*)?';

/** An authority that is a host and a port. `names`: the virtual host's own, which the host is one of then. */
export const authority = (names: readonly string[]): string =>
  names.every((name) => /^[a-z0-9_.-]+$/.test(name)) ? `[^:]+${PORT}` : HOST + PORT;

/** An authority with this port. */
export const withPort = (port: number | string) => ({
  name: ':authority',
  string_match: { safe_regex: { regex: `${HOST}:${port}` } },
});

const PETABYTE = 1e15;

/** What is the length of no body; of a number that is too long to be one, too. */
export const NO_LENGTH = {
  name: 'content-length',
  range_match: { start: '0', end: String(PETABYTE) },
  invert_match: true,
};

/** The opposite: one of these is true of it. */
export const LENGTH_OF_A_BODY = [
  { ...NO_LENGTH, invert_match: false },
  { name: 'content-length', present_match: true, invert_match: true },
];

/** No other match is for CONNECT. */
export const connect = (headers: object[] = []): Match => ({ connect_matcher: {}, headers });

/** Behind other headers of a match: a request is compared with many routes, and a pattern costs it most. */
export const oneOf = (methods: readonly string[]) => ({
  name: ':method',
  string_match: methods.length === 1 ? { exact: methods[0] } : { safe_regex: { regex: methods.join('|') } },
});

/** HTTP/1.1's handshake, and HTTP/2's, of which Envoy makes the same (RFC 6455 section 4.1, RFC 8441). What only looks like one has
 *  lost its `upgrade` before routes are looked at. */
export const WEBSOCKET = [
  { name: 'upgrade', string_match: { exact: 'websocket', ignore_case: true } },
  oneOf(['GET']),
];

/** All but this word, in any case of its letters. RE2 cannot say that of a whole word, so it is said of each letter. */
const otherThan = (word: string): string => {
  const letters = [...word].map((letter, at) => {
    const before = word.slice(0, at);
    return `${before}[^${letter}].*${at > 0 ? `|${before}` : ''}`;
  });
  return `(?i:${letters.join('|')}|${word}.+)`;
};

/** What an app may offer to change to in a request that is answered without that: a server may ignore it (RFC 9110 section 7.8). Clients say
 *  `TLS/1.2` and `h2c` by default. */
export const IGNORED_UPGRADES = [{ safe_regex: { regex: otherThan('websocket') } }];

/** gRPC-Web too: its answers are as much a conversation. */
export const GRPC = [
  { name: 'content-type', string_match: { prefix: 'application/grpc', ignore_case: true } },
];

const pathOf = (path: Rule['match']['path']) => {
  if (!path) return { prefix: '/' };
  if ('exact' in path) return { path: path.exact };
  return 'prefix' in path ? { prefix: path.prefix } : { safe_regex: { regex: path.regex } };
};

/** What a rule matches of a destination's requests, as policy/in-force.ts does; which apps is for the caller. */
export const whereOf = ({ match: { path, methods } }: Rule): Where => {
  return ({ headers = [], ...more } = {}) => ({
    ...pathOf(path),
    ...(methods || headers.length > 0 ? { headers: [...(methods ? [oneOf(methods)] : []), ...headers] } : {}),
    ...more,
  });
};
