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

export const API_VERSION = 'layby.dev/v1alpha1';

export const apiVersion = () => oneOf([API_VERSION], 'The version of this form.');

export const metadata = (description: string) =>
  Type.Object(
    {
      name: Type.String({
        title: 'a DNS label: lower-case letters, digits and hyphens, 63 at most',
        pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$',
        description,
      }),
    },
    { description: 'Who this is.' },
  );

const LABEL = '[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?';

export const hosts = (description: string) =>
  Type.Array(
    Type.String({
      title: 'a host name without port, like api.example, or *.example for any name below it',
      pattern: `^((\\*\\.)?${LABEL}(\\.${LABEL})*|\\[[0-9A-Fa-f:.]+\\])$`,
      maxLength: 253,
    }),
    { minItems: 1, maxItems: 256, description },
  );

/** What can stand in a SPIFFE id: not of dots alone. */
export const SEGMENT = '\\.*[A-Za-z0-9_-][A-Za-z0-9._-]*';

export const nodeName = (description: string) =>
  Type.String({
    title: 'a node id of letters, digits, dots, hyphens and underscores',
    pattern: `^${SEGMENT}$`,
    maxLength: 253,
    description,
  });
