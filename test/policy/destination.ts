// A destination for tests, as the policy gives it.

import type { Destination } from '../../src/policy/policy.ts';

type Changes = Omit<Partial<Destination>, 'upstream' | 'store' | 'replay'> & {
  [K in 'upstream' | 'store' | 'replay']?: Partial<Destination[K]>;
};

export const destination = (changes: Changes = {}): Destination => ({
  name: 'dashcam',
  hosts: ['dashcam.example'],
  ...changes,
  upstream: { url: 'http://127.0.0.1:9000', ...changes.upstream },
  store: {
    mode: 'failover',
    methods: ['DELETE', 'PATCH', 'POST', 'PUT'],
    receipt: 'redirect',
    order: 'key',
    class: 'normal',
    reads: 'stored',
    listings: 'unavailable',
    unknown: 'unavailable',
    whenFull: 'refuse',
    ...changes.store,
  },
  replay: { concurrency: 4, resume: 'none', retry: { max: 30_000 }, ...changes.replay },
});
