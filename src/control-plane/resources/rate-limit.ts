// How much apps may ask for: a bucket for each destination and one more for each rule that has its own, at the virtual host. On
// the routes they would be many: a destination has several, and each would have one.

import type { Destination, RateLimit, Rule } from '../../policy/policy.ts';
import * as bounds from './bounds.ts';
import { inOurWords } from './own-answers.ts';

export const RATE_LIMIT_FILTER = 'envoy.filters.http.local_ratelimit';
const TYPE = 'type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit';

const always = { default_value: { numerator: 100, denominator: 'HUNDRED' } };

/** In the listener; a virtual host with buckets enables it. */
export const rateLimitFilter = {
  name: RATE_LIMIT_FILTER,
  disabled: true,
  typed_config: { '@type': TYPE, stat_prefix: 'rate_limit' },
};

/** Words for who is refused. */
export const rateLimited = inOurWords({
  type: 'rate-limited',
  title: 'More requests than the policy lets through',
  status: 429,
});

const bucket = ({ requests, per, burst }: RateLimit) => ({
  max_tokens: burst,
  tokens_per_fill: requests,
  fill_interval: bounds.seconds(per),
});

const KEY = 'rule';

/** Of a virtual host. */
export function rateLimits({ name, rateLimit, rules = [] }: Destination): object {
  const own = rules.flatMap(({ changes }, i) => (changes.rateLimit ? [{ i, limit: changes.rateLimit }] : []));
  if (!rateLimit && own.length === 0) return {};
  return {
    [RATE_LIMIT_FILTER]: {
      '@type': TYPE,
      stat_prefix: name,
      filter_enabled: always,
      filter_enforced: always,
      // Where only rules have one, the rest is not limited.
      token_bucket: rateLimit ? bucket(rateLimit) : { max_tokens: 4294967295, fill_interval: '1s' },
      always_consume_default_token_bucket: false,
      descriptors: own.map(({ i, limit }) => ({
        entries: [{ key: KEY, value: String(i) }],
        token_bucket: bucket(limit),
      })),
      response_headers_to_add: [
        {
          header: { key: 'retry-after', value: '1' },
          append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
        },
      ],
    },
  };
}

/** Of the action of a route of this rule: which bucket. */
export function bucketOf({ rules = [] }: Destination, rule: Rule | undefined): object {
  if (!rule?.changes.rateLimit) return {};
  const value = String(rules.indexOf(rule));
  return { rate_limits: [{ actions: [{ generic_key: { descriptor_key: KEY, descriptor_value: value } }] }] };
}

/** On a route of this destination whose requests are not counted. */
export const unlimited = (destination: Destination): object =>
  Object.keys(rateLimits(destination)).length === 0
    ? {}
    : {
        typed_per_filter_config: {
          [RATE_LIMIT_FILTER]: {
            '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig',
            disabled: true,
          },
        },
      };
