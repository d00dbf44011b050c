// Which requests a route is for.

import type { Rule } from '../../policy/policy.ts';

export type Match = ({ prefix: string } | { path: string } | { safe_regex: { regex: string } }) & {
  headers?: object[];
  query_parameters?: object[];
  runtime_fraction?: object;
};

type More = Pick<Match, 'headers' | 'query_parameters' | 'runtime_fraction'>;

/** A match with more to it. */
export type Where = (more?: More) => Match;

export const anyPath: Where = (more = {}) => ({ prefix: '/', ...more });

export const oneOf = (methods: readonly string[]) => ({
  name: ':method',
  string_match: { safe_regex: { regex: methods.join('|') } },
});

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
