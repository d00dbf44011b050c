// What a sidecar answers by itself, as RFC 9457 problem details.

import { PROBLEM_BASE } from '../../wire/names.ts';
import { anyPath, type Match } from './matches.ts';

const CONTENT_TYPE = 'application/problem+json';

interface Problem {
  status: number;
  /** The last part of the type's URI; docs/errors.md has a line for each. Left out: `about:blank`. */
  type?: string;
  title: string;
  /** May have variables of Envoy's: `%REQ(:AUTHORITY)%`. */
  detail?: string;
}

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

/** Words in place of Envoy's own where it answers with this status. `only`: a filter of access logs that it must pass as well. */
export const inOurWords = (
  problem: Problem,
  { only = [], headers = {} }: { only?: object[]; headers?: Readonly<Record<string, string>> } = {},
) => {
  const status = {
    status_code_filter: {
      comparison: {
        op: 'EQ',
        value: { default_value: problem.status, runtime_key: `layby.answer.${problem.status}` },
      },
    },
  };
  return {
    filter: only.length > 0 ? { and_filter: { filters: [status, ...only] } } : status,
    body_format_override: {
      content_type: CONTENT_TYPE,
      text_format_source: { inline_string: body(problem) },
    },
    headers_to_add: Object.entries(headers).map(([name, value]) => setHeader(name, value)),
  };
};
