// Which nodes a status request is about: envoy.type.matcher.v3, as proto-loader gives it. Pure.

import { LaybyError, messageOf } from '../../telemetry/error.ts';
import { plainStruct } from '../xds/struct.ts';
import type { Node } from './transport.ts';

/** A oneof: `match_pattern` names the field that is set. */
interface StringMatcher {
  match_pattern?: 'exact' | 'prefix' | 'suffix' | 'contains' | 'safe_regex' | 'custom';
  exact?: string;
  prefix?: string;
  suffix?: string;
  contains?: string;
  safe_regex?: { regex: string };
  ignore_case?: boolean;
}

interface ValueMatcher {
  match_pattern?: string;
  double_match?: { match_pattern?: string; exact?: number; range?: { start: number; end: number } };
  string_match?: StringMatcher;
  bool_match?: boolean;
  present_match?: boolean;
  list_match?: { one_of?: ValueMatcher };
  or_match?: { value_matchers: ValueMatcher[] };
}

interface StructMatcher {
  path: { key: string }[];
  value?: ValueMatcher | null;
}

export interface NodeMatcher {
  node_id?: StringMatcher | null;
  node_metadatas: StructMatcher[];
}

const invalid = (what: string, cause?: unknown): LaybyError =>
  new LaybyError('LAYBY_REQUEST_INVALID', `a node matcher cannot be used: ${what}`, { cause });

/** A regular expression of the request, which must match the whole. Errors: LAYBY_REQUEST_INVALID. */
function whole(regex: string, text: string): boolean {
  try {
    return new RegExp(`^(?:${regex})$`, 'u').test(text);
  } catch (cause) {
    throw invalid(messageOf(cause), cause);
  }
}

function matchesString(matcher: StringMatcher, given: string): boolean {
  const fold = (text = '') => (matcher.ignore_case ? text.toLowerCase() : text);
  const text = fold(given);
  switch (matcher.match_pattern) {
    case 'exact':
      return text === fold(matcher.exact);
    case 'prefix':
      return text.startsWith(fold(matcher.prefix));
    case 'suffix':
      return text.endsWith(fold(matcher.suffix));
    case 'contains':
      return text.includes(fold(matcher.contains));
    case 'safe_regex':
      return whole(matcher.safe_regex?.regex ?? '', given);
    default:
      throw invalid(`it has ${matcher.match_pattern ?? 'no pattern'}`);
  }
}

function matchesValue(matcher: ValueMatcher, value: unknown): boolean {
  switch (matcher.match_pattern) {
    case 'null_match':
      return value === null;
    case 'present_match':
      return (value !== undefined) === matcher.present_match;
    case 'bool_match':
      return value === matcher.bool_match;
    case 'string_match':
      return typeof value === 'string' && matchesString(matcher.string_match!, value);
    case 'double_match': {
      const { exact, range } = matcher.double_match!;
      if (typeof value !== 'number') return false;
      return range ? value >= range.start && value < range.end : value === exact;
    }
    case 'list_match':
      return (
        Array.isArray(value) && value.some((each) => matchesValue(matcher.list_match!.one_of ?? {}, each))
      );
    case 'or_match':
      return matcher.or_match!.value_matchers.some((each) => matchesValue(each, value));
    default:
      throw invalid('it has no value');
  }
}

const at = (metadata: unknown, path: StructMatcher['path']): unknown =>
  path.reduce<unknown>(
    (value, { key }) =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? (value as Record<string, unknown>)[key]
        : undefined,
    metadata,
  );

/** True where one of the matchers is of this node, by its id and all the metadata it names; without matchers, of all.
 *  Errors: LAYBY_REQUEST_INVALID. */
export function matchesNode(matchers: readonly NodeMatcher[], { id, metadata }: Node): boolean {
  if (matchers.length === 0) return true;
  const plain = plainStruct(metadata);
  return matchers.some(
    ({ node_id: byId, node_metadatas: byMetadata }) =>
      (!byId || matchesString(byId, id)) &&
      byMetadata.every(({ path, value }) => matchesValue(value ?? {}, at(plain, path))),
  );
}
