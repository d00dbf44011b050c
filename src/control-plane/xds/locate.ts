// Finds the place in a resource's JSON that protobuf refuses: its own message names a type, but not where in a listener of 300 lines.
// Runs only after an error, so it may decode pieces again.

import {
  type DescField,
  type DescMessage,
  fromJson,
  type JsonObject,
  type JsonValue,
  type Registry,
} from '@bufbuild/protobuf';
import { messageOf } from '../../telemetry/error.ts';

export interface Fault {
  /** `filterChains[0].filters[0].typedConfig.statPrefix`; empty for the resource itself. */
  path: string;
  reason: string;
}

/** Something that can be decoded alone. */
interface Piece {
  path: string;
  message: DescMessage;
  json: JsonValue;
}

const isObject = (json: JsonValue): json is JsonObject =>
  typeof json === 'object' && json !== null && !Array.isArray(json);

/** `cannot decode message x.Y from JSON: key "z" is unknown` → `key "z" is unknown`; where nothing but the value would be left,
 *  what it was to be is said. */
const reasonOf = (error: unknown): string => {
  const words = messageOf(error);
  const parts = /^cannot decode (?:(?:message|enum|field|oneof) )?(\S+) from JSON:? (.*)$/s.exec(words);
  if (!parts) return words;
  const [, type, rest] = parts;
  return /^("[^"]*"|-?\d+|true|false|null|undefined|object|Array\(\d+\))$/.test(rest!)
    ? `${rest} is no ${type}`
    : rest!;
};

const refusal = (registry: Registry, { message, json }: Piece): unknown => {
  try {
    fromJson(message, json, { registry });
    return undefined;
  } catch (error) {
    return error;
  }
};

/** The message whose fields an object has: that of `@type` inside an Any. */
const described = (registry: Registry, { message, json }: Piece): [DescMessage, JsonObject] | undefined => {
  if (!isObject(json)) return undefined;
  if (message.typeName !== 'google.protobuf.Any') return [message, json];
  const { '@type': url, ...fields } = json;
  const inside = typeof url === 'string' && registry.getMessage(url.slice(url.lastIndexOf('/') + 1));
  return inside ? [inside, fields] : undefined;
};

/** The messages in the value of one field. */
const messagesIn = (field: DescField | undefined, path: string, json: JsonValue): Piece[] => {
  const message = field?.message;
  if (!message || json === null) return [];
  if (field.fieldKind === 'message') return [{ path, message, json }];
  if (Array.isArray(json)) {
    return json.map((element, index) => ({ path: `${path}[${index}]`, message, json: element }));
  }
  if (!isObject(json)) return [];
  return Object.entries(json).map(([key, value]) => ({ path: `${path}["${key}"]`, message, json: value }));
};

/** The deepest thing in `json` that protobuf refuses, and why. `cause` is what it said of the whole. */
export const locate = (registry: Registry, root: DescMessage, json: JsonValue, cause: unknown): Fault => {
  const descend = (piece: Piece, error: unknown): Fault => {
    const inside = described(registry, piece);
    for (const [key, value] of inside ? Object.entries(inside[1]) : []) {
      const message = inside![0];
      const refused = refusal(registry, { path: '', message, json: { [key]: value } });
      if (refused === undefined) continue;
      const field = message.fields.find((known) => known.jsonName === key || known.name === key);
      // The reason of an unknown key names it.
      if (!field) return { path: piece.path, reason: reasonOf(refused) };
      const path = piece.path ? `${piece.path}.${key}` : key;
      for (const deeper of messagesIn(field, path, value)) {
        const why = refusal(registry, deeper);
        if (why !== undefined) return descend(deeper, why);
      }
      return { path, reason: reasonOf(refused) };
    }
    // Each field is well alone: they do not go together, as two of one oneof.
    return { path: piece.path, reason: reasonOf(error) };
  };
  return descend({ path: '', message: root, json }, cause);
};
