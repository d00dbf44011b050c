// The forms that fields of several groups have.

import Type from 'typebox';
import { DURATION_FORM, DURATION_PATTERN, SIZE_FORM, SIZE_PATTERN } from '../units.ts';

export const oneOf = <V extends string[]>(values: readonly [...V], description: string, preset?: V[number]) =>
  Type.Enum<V>(values, {
    type: 'string',
    description,
    ...(preset === undefined ? {} : { default: preset }),
  });

export const duration = (description: string, preset?: string) =>
  Type.String({
    title: DURATION_FORM,
    pattern: DURATION_PATTERN,
    description,
    ...(preset === undefined ? {} : { default: preset }),
  });

export const size = (description: string, preset?: string) =>
  Type.Optional(
    Type.String({
      title: SIZE_FORM,
      pattern: SIZE_PATTERN,
      description,
      ...(preset === undefined ? {} : { default: preset }),
    }),
  );

export const httpUrl = (description: string) =>
  Type.String({
    title: 'an http:// or https:// URL without user, query and fragment',
    pattern: '^https?://[^/?#@\\s]+(/[^?#\\s]*)?$',
    maxLength: 2048,
    description,
  });

export const percent = (description: string) => Type.Integer({ minimum: 1, maximum: 100, description });

export const httpMethod = () =>
  Type.String({ title: 'an HTTP method like PUT', pattern: '^[A-Za-z][A-Za-z-]*$', maxLength: 32 });
