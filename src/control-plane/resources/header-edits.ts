// Headers that the policy sets or takes off. A filter does it, before the one that signs: what a route changes of a request comes
// after the signature, and would break it.

import type { Destination, HeaderEdit } from '../../policy/policy.ts';
import { HEADER_FILTER } from './header-filter.ts';

const mutations = ({ set, remove }: HeaderEdit): object[] => [
  ...remove.map((name) => ({ remove: name })),
  ...set.map(([key, value]) => ({
    // A percent sign would begin a variable of Envoy's.
    append: {
      header: { key, value: value.replaceAll('%', '%%') },
      append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
    },
  })),
];

/** Of a route. `request`: the route leads to the destination; else the queue edits the request, when it sends it. */
export function headerEdits({ headers }: Destination, { request }: { request: boolean }): object {
  if (!headers) return {};
  const edits = {
    ...(request && { request_mutations: mutations(headers.request) }),
    response_mutations: mutations(headers.response),
  };
  return {
    [HEADER_FILTER]: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute',
      mutations: edits,
    },
  };
}
