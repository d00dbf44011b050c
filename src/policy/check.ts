// Is this value a document of a policy? Finds everything that is wrong with one document, each with its path; what two
// documents have to do with each other is for src/policy/parse.ts.

import { Settings } from 'typebox/system';
import Value from 'typebox/value';
import type { Path } from './documents.ts';
import { type Finding, isMapping, shown } from './finding.ts';
import { nearMiss } from './near-miss.ts';
import { MESH_KIND, MeshSchema } from './schema/mesh.ts';
import { SERVICE_KIND, ServiceSchema } from './schema/service.ts';
import {
  DESTINATION_JSON_SCHEMA,
  DestinationSchema,
  type JsonSchema,
  KIND,
  MESH_JSON_SCHEMA,
  SERVICE_JSON_SCHEMA,
} from './schema.ts';
import { valueFindings } from './values.ts';

const expected = (schema: JsonSchema): string => {
  if (schema.title) return schema.title;
  if (schema.enum) return schema.enum.length === 1 ? schema.enum[0]! : `one of ${schema.enum.join(', ')}`;
  if (schema['x-kubernetes-preserve-unknown-fields']) return 'a mapping';
  if (schema.type === 'integer') return `a whole number from ${schema.minimum} to ${schema.maximum}`;
  if (schema.type === 'array') return `a list of ${schema.minItems} to ${schema.maxItems}`;
  if (schema.properties) return `a mapping with ${Object.keys(schema.properties).join(', ')}`;
  return `a ${schema.type}`;
};

const mismatch = (schema: JsonSchema, value: unknown): string => {
  const meant = typeof value === 'string' && schema.enum && nearMiss(value, schema.enum);
  return `expected ${expected(schema)}, but found ${shown(value)}${meant ? `; did you mean \`${meant}\`?` : ''}`;
};

const child = (schema: JsonSchema | undefined, step: string | number): JsonSchema | undefined => {
  if (typeof step === 'number') return schema?.items;
  const properties = schema?.properties;
  return properties && Object.hasOwn(properties, step) ? properties[step] : undefined;
};

const valueAt = (value: unknown, path: Path): unknown =>
  path.reduce<unknown>(
    (at, step) => (at as Record<string | number, unknown> | undefined | null)?.[step],
    value,
  );

/** JSON Pointer (RFC 6901) to path, with numbers where the schema has a list. */
const pathOf = (form: Form, pointer: string): Path => {
  const path: (string | number)[] = [];
  let schema: JsonSchema | undefined = form.json;
  for (const raw of pointer.split('/').slice(1)) {
    const name = raw.replaceAll('~1', '/').replaceAll('~0', '~');
    const step: string | number = schema?.items ? Number(name) : name;
    path.push(step);
    schema = child(schema, step);
  }
  return path;
};

/** All fields of the schema by their last name, to find one written at the wrong depth. */
const fieldsByName = (schema: JsonSchema, above: string, found = new Map<string, string>()) => {
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    const path = above ? `${above}.${name}` : name;
    if (!found.has(name)) found.set(name, path);
    fieldsByName(field, path, found);
  }
  return found;
};

/** A kind of document. */
interface Form {
  schema: typeof DestinationSchema | typeof ServiceSchema | typeof MeshSchema;
  json: JsonSchema;
  fields: Map<string, string>;
}

const formOf = (schema: Form['schema'], json: JsonSchema): Form => ({
  schema,
  json,
  fields: fieldsByName(json, ''),
});

const DESTINATION = formOf(DestinationSchema, DESTINATION_JSON_SCHEMA);
const FORMS: ReadonlyMap<string, Form> = new Map([
  [KIND, DESTINATION],
  [SERVICE_KIND, formOf(ServiceSchema, SERVICE_JSON_SCHEMA)],
  [MESH_KIND, formOf(MeshSchema, MESH_JSON_SCHEMA)],
]);

const unknownFields = (
  form: Form,
  schema: JsonSchema,
  value: unknown,
  path: Path,
  findings: Finding[],
): void => {
  if (schema.items && Array.isArray(value)) {
    for (const [i, item] of value.entries()) unknownFields(form, schema.items, item, [...path, i], findings);
  }
  if (!schema.properties || schema['x-kubernetes-preserve-unknown-fields'] || !isMapping(value)) return;
  for (const [name, field] of Object.entries(value)) {
    const known = child(schema, name);
    if (known) {
      unknownFields(form, known, field, [...path, name], findings);
      continue;
    }
    const free = Object.keys(schema.properties).filter((other) => !Object.hasOwn(value, other));
    const meant = nearMiss(name, free) ?? form.fields.get(nearMiss(name, form.fields.keys()) ?? '');
    findings.push({
      path: [...path, name],
      message: `unknown field${meant ? `; did you mean \`${meant}\`?` : `; expected ${expected(schema)}`}`,
      at: 'key',
    });
  }
};

const schemaFindings = (form: Form, value: unknown): Finding[] => {
  const findings: Finding[] = [];
  unknownFields(form, form.json, value, [], findings);
  // typebox stops after eight errors unless told otherwise, and only globally; a policy with more shall hear of them all.
  const { maxErrors } = Settings.Get();
  Settings.Set({ maxErrors: Number.MAX_SAFE_INTEGER });
  let errors: ReturnType<typeof Value.Errors>;
  try {
    errors = Value.Errors(form.schema, value);
  } finally {
    Settings.Set({ maxErrors });
  }
  for (const error of errors) {
    const path = pathOf(form, error.instancePath);
    const schema = path.reduce<JsonSchema | undefined>(child, form.json);
    if (error.keyword === 'required') {
      for (const name of error.params.requiredProperties) {
        const field = child(schema, name);
        findings.push({
          path: [...path, name],
          message: `required, but missing; expected ${field ? expected(field) : 'a value'}`,
          at: 'value',
        });
      }
    } else {
      findings.push({
        path,
        message: schema ? mismatch(schema, valueAt(value, path)) : error.message,
        at: 'value',
      });
    }
  }
  return findings;
};

const kindOf = (value: unknown): unknown => (isMapping(value) ? value.kind : undefined);

/** Everything wrong with one document, at most one finding per path; empty: it is what its kind says. */
export const checkDocument = (value: unknown): Finding[] => {
  const kind = kindOf(value);
  const kinds = [...FORMS.keys()];
  const form = typeof kind === 'string' ? FORMS.get(nearMiss(kind, kinds) ?? kind) : DESTINATION;
  if (!form) {
    // Something else altogether: to list all that it has not in common with a destination would help nobody.
    const message = `expected one of ${kinds.join(', ')}, but found ${shown(kind)}`;
    return [{ path: ['kind'], message, at: 'value' }];
  }
  const findings = new Map<string, Finding>();
  const add = (finding: Finding) => {
    const key = JSON.stringify(finding.path);
    if (!findings.has(key)) findings.set(key, finding);
  };
  for (const finding of schemaFindings(form, value)) add(finding);
  for (const finding of valueFindings(value)) add(finding);
  return [...findings.values()];
};
