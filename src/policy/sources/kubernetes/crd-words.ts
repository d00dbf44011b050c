// What the schema of a custom resource says to people: a refusal in the words of `layby policy check` where the schema of files has a pattern,
// of which the API server would say only that the value "should match '^…$'"; and a description of every field that names its form.

import type { JsonSchema } from '../../schema.ts';

/** A rule of the Common Expression Language, and what is said where it does not hold. */
export interface Validation {
  rule: string;
  message: string;
  /** `.metadata.name` */
  fieldPath?: string;
}

export type Schema = Omit<JsonSchema, 'type' | 'properties' | 'items'> & {
  type?: JsonSchema['type'] | 'boolean';
  format?: string;
  'x-kubernetes-validations'?: Validation[];
  'x-kubernetes-list-type'?: 'map';
  'x-kubernetes-list-map-keys'?: string[];
  properties?: Readonly<Record<string, Schema>>;
  items?: Schema;
};

/** Of a text whose pattern alone bounds it; the API server judges the cost of a rule by the longest text. The longest unit has 25. */
const LONGEST_UNIT = 32;

/** Where so many and so long texts may stand that the whole pattern would cost more than the API server allows; the webhook and the status
 *  know the rest. */
const CHEAPER: Readonly<Record<string, string>> = {
  'spec.rules[].headers.request.set[]': '^.+:',
  'spec.rules[].headers.response.set[]': '^.+:',
  'spec.allow[]': '^[A-Za-z0-9._:/-]+$',
};

/** A raw literal of CEL: backslashes are the pattern's. */
const literal = (pattern: string): string => (pattern.includes("'") ? `r"${pattern}"` : `r'${pattern}'`);

/** `of`: the expression for the text, in CEL. */
export const matches = (of: string, pattern: string, title: string): Validation => ({
  rule: `${of}.matches(${literal(pattern)})`,
  message: `expected ${title}`,
});

/** `list`: of which this is an item. */
const described = ({ title, description }: Schema, list?: Schema): string | undefined => {
  if (title === undefined) return description ?? list?.description;
  if (description === undefined) return `${list ? 'Each is' : 'It is'} ${title}.`;
  return `${description} Format: ${title}.`;
};

const below = (path: string, step: string): string => (path ? `${path}.${step}` : step);

/** `path`: of the schema within the object, as `spec.rules[].match`. */
export function inWords(schema: Schema, path: string, list?: Schema): Schema {
  const { pattern, properties, items, ...rest } = schema;
  const { title = 'something else' } = schema;
  const description = described(schema, list);
  const validations = [
    ...(pattern === undefined ? [] : [matches('self', CHEAPER[path] ?? pattern, title)]),
    ...(rest['x-kubernetes-validations'] ?? []),
  ];
  return {
    ...rest,
    ...(description !== undefined && { description }),
    ...(pattern !== undefined && { maxLength: schema.maxLength ?? LONGEST_UNIT }),
    ...(validations.length > 0 && { 'x-kubernetes-validations': validations }),
    ...(properties && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, field]) => [name, inWords(field, below(path, name))]),
      ),
    }),
    ...(items && { items: inWords(items, `${path}[]`, schema) }),
  };
}

/** A tool that removes what its source no longer has leaves the definitions, and with them all objects of every vehicle. */
export const KEPT: Readonly<Record<string, string>> = {
  'helm.sh/resource-policy': 'keep',
  'argocd.argoproj.io/sync-options': 'Prune=false,Delete=false',
  'kustomize.toolkit.fluxcd.io/prune': 'disabled',
};
