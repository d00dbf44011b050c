// What a sidecar answers by itself, as RFC 9457 problem details.

import { PROBLEM_BASE, REQUEST_HEADER } from '../../wire/names.ts';
import { anyPath, GRPC, type Match } from './matches.ts';

const CONTENT_TYPE = 'application/problem+json';

interface Problem {
  status: number;
  /** The last part of the type's URI; docs/errors.md has a line for each. Left out: `about:blank`. */
  type?: string;
  title: string;
  /** May have variables of Envoy's: `%REQ(:AUTHORITY)%`. */
  detail?: string;
}

/** `layby link down` keeps off the link what the queue cannot take, too. */
export const STOPPED: Problem = {
  status: 503,
  type: 'no-link',
  title: 'The operator has stopped the link to this destination, and nothing of this was stored',
};

const fields = ({ type, ...rest }: Problem) => ({
  type: type === undefined ? 'about:blank' : PROBLEM_BASE + type,
  ...rest,
});

const body = (problem: Problem): string => `${JSON.stringify(fields(problem))}\n`;

const setHeader = (key: string, value: string) => ({
  header: { key, value },
  append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
});

/** A route that refuses what it matches. */
export const refuse = (problem: Problem, match: Match = anyPath()) => ({
  match,
  direct_response: {
    status: problem.status,
    ...(problem.detail === undefined
      ? { body: { inline_string: body(problem) } }
      : { body_format: { content_type: CONTENT_TYPE, json_format: fields(problem) } }),
  },
  response_headers_to_add: [setHeader('content-type', CONTENT_TYPE)],
});

/** Words in place of Envoy's own where it answers with this status. `instead`: the status that Envoy has for it, where it is not the one that
 *  fits. `only`: filters of access logs that it must pass as well. */
export const inOurWords = (
  problem: Problem,
  {
    instead = problem.status,
    only = [],
    headers = {},
  }: { instead?: number; only?: object[]; headers?: Readonly<Record<string, string>> } = {},
) => {
  const status = {
    status_code_filter: {
      comparison: {
        op: 'EQ',
        value: { default_value: instead, runtime_key: `layby.answer.${instead}` },
      },
    },
  };
  return {
    filter: only.length > 0 ? { and_filter: { filters: [status, ...only] } } : status,
    ...(instead !== problem.status && { status_code: problem.status }),
    body_format_override: {
      content_type: CONTENT_TYPE,
      text_format_source: { inline_string: body(problem) },
    },
    headers_to_add: Object.entries(headers).map(([name, value]) => setHeader(name, value)),
  };
};

const RETRY = { 'retry-after': '2', 'cache-control': 'no-store' };

/** gRPC's clients are told by Envoy, in a status of their own. */
const notGrpc = GRPC.map((header) => ({
  header_filter: { header: { ...header, invert_match: true, treat_missing_header_as_empty: true } },
}));

/** Of a request that went to the queue. The route says so, and what an app says of it is taken off (header-filter.ts). */
const toTheQueue = { header_filter: { header: { name: REQUEST_HEADER, present_match: true } } };

const queueAway: Problem = {
  type: 'queue-away',
  title: 'The queue went away before it had answered this request',
  status: 503,
};

/** Words for the listener of apps, where Envoy gives up what a destination's routes let through, or cannot read it. Not for statuses that a
 *  route refuses with (see `refuse`): those have their words. */
export const givenUp = [
  inOurWords(queueAway, { only: [toTheQueue, ...notGrpc], headers: RETRY }),
  // More came, while the queue was tried again, than is kept to be sent again.
  inOurWords(queueAway, { instead: 507, only: notGrpc, headers: RETRY }),
  // Of what is not stored and finds no way.
  inOurWords(
    {
      type: 'no-link',
      title: 'There is no way to the destination, and nothing of this was stored',
      status: 503,
    },
    { only: notGrpc, headers: RETRY },
  ),
  inOurWords(
    { type: 'answer-late', title: 'The destination did not answer in time', status: 504 },
    { only: notGrpc, headers: RETRY },
  ),
  inOurWords(
    { type: 'answer-invalid', title: 'What the destination answered is not HTTP', status: 502 },
    { only: notGrpc, headers: RETRY },
  ),
  inOurWords({ title: 'Layby: the request did not come in time', status: 408 }),
  inOurWords({ title: 'Layby: the head of the request is too large', status: 431 }),
  inOurWords({ title: 'Layby: a transfer coding that is not "chunked"', status: 501 }),
];
