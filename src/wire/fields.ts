// The fields of JSON objects from outside. A schema library would cost the queue 20 MB.

import { LaybyError } from '../telemetry/error.ts';

/** What a value must be: `name` is for the message. */
export interface Shape<T> {
  name: string;
  is: (value: unknown) => value is T;
}

/** The shape of each field that an object may have. */
export type Shapes<T> = { [K in keyof T]-?: Shape<Exclude<T[K], undefined>> };

export const TEXT: Shape<string> = {
  name: 'a string',
  is: (value) => typeof value === 'string',
};
export const FLAG: Shape<boolean> = {
  name: 'true or false',
  is: (value) => typeof value === 'boolean',
};
export const NUMBER: Shape<number> = {
  name: 'a number',
  is: (value): value is number => typeof value === 'number' && Number.isFinite(value),
};
export const ANYTHING: Shape<unknown> = { name: 'anything', is: (_value): _value is unknown => true };

export const listOf = <T>({ name, is }: Shape<T>): Shape<T[]> => ({
  name: `a list, each of it ${name}`,
  is: (value): value is T[] => Array.isArray(value) && value.every(is),
});

export const PAIR: Shape<[string, string]> = {
  name: 'a list of two strings',
  is: (value): value is [string, string] =>
    Array.isArray(value) && value.length === 2 && value.every((item) => typeof item === 'string'),
};

/** Those of `shapes` that `value` has, and no other. Errors: LAYBY_REQUEST_INVALID, naming the field. */
export function fieldsOf<T extends object>(value: unknown, shapes: Shapes<T>, what = 'the body'): Partial<T> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(what, 'a JSON object');
  const found = value as Record<string, unknown>;
  const fields: Partial<T> = {};
  for (const name of Object.keys(shapes) as (keyof T & string)[]) {
    if (!Object.hasOwn(found, name) || found[name] === undefined) continue;
    const shape = shapes[name];
    const field = found[name];
    if (!shape.is(field)) throw wrong(`${name} of ${what}`, shape.name);
    fields[name] = field as T[typeof name];
  }
  return fields;
}

const wrong = (place: string, expected: string): LaybyError =>
  new LaybyError('LAYBY_REQUEST_INVALID', `${place} is not ${expected}`, {
    remedy: 'docs/cli.md has the fields of each request',
  });
