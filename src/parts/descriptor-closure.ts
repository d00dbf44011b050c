// Which of the published xDS files Layby takes, and the making of one self-contained descriptor set of them. Pure: where the
// bytes come from is for xds-descriptors.ts.

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { protoCamelCase } from '@bufbuild/protobuf/reflect';
import {
  type DescriptorProto,
  type FileDescriptorProto,
  FileDescriptorSetSchema,
  file_google_protobuf_any,
  file_google_protobuf_descriptor,
  file_google_protobuf_duration,
  file_google_protobuf_empty,
  file_google_protobuf_field_mask,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
} from '@bufbuild/protobuf/wkt';
import { LaybyError } from '../telemetry/error.ts';

/** What the control plane may send or read: all of v3. The files they import come along. Loading all of it takes about 80 ms and
 *  40 MB; if that becomes too much, this is the one place to name less. */
export const XDS_ROOTS: readonly RegExp[] = [
  /^envoy\/service\/[^/]+\/v3\//,
  /^envoy\/(config|extensions|data)\/(.+\/)?v3\//,
  /^envoy\/admin\/v3\//,
  /^envoy\/type\//,
  /^xds\//,
];

/** protobuf's own files: generated Python imports them from the protobuf package, so xds-protos does not have them. */
const WELL_KNOWN: readonly FileDescriptorProto[] = [
  file_google_protobuf_any,
  file_google_protobuf_descriptor,
  file_google_protobuf_duration,
  file_google_protobuf_empty,
  file_google_protobuf_field_mask,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
].map((file) => file.proto);

/** The files that `wanted` names and all they import, each after its imports. Throws LAYBY_XDS_INVALID where one is missing. */
export const closure = (
  files: readonly FileDescriptorProto[],
  wanted: (name: string) => boolean,
): FileDescriptorProto[] => {
  const byName = new Map(files.map((file) => [file.name, file]));
  const seen = new Set<string>();
  const ordered: FileDescriptorProto[] = [];
  const visit = (name: string, importer: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    const file = byName.get(name);
    if (!file) {
      throw new LaybyError(
        'LAYBY_XDS_INVALID',
        `the xDS descriptors lack ${name}, which ${importer} imports`,
        {
          remedy: 'remove the file that LAYBY_XDS_DESCRIPTORS names, or make it anew',
        },
      );
    }
    for (const dependency of file.dependency) visit(dependency, name);
    ordered.push(file);
  };
  // Sorted, so that equal inputs give equal bytes.
  for (const name of [...byName.keys()].filter(wanted).sort()) visit(name, 'nothing');
  return ordered;
};

/** Generated Python carries no `json_name`, and without it the camelCase names of Envoy's documentation are unknown. */
const nameForJson = (message: DescriptorProto): void => {
  for (const field of message.field) field.jsonName ||= protoCamelCase(field.name);
  for (const nested of message.nestedType) nameForJson(nested);
};

/** Raise it when `trim` makes something else of the same input: it is part of the name in the cache. */
export const TRIM_VERSION = 1;

/** A serialized FileDescriptorSet, in any order and without protobuf's own files, cut down to XDS_ROOTS and made complete. Throws
 *  LAYBY_XDS_INVALID. */
export const trim = (set: Uint8Array): Uint8Array => {
  const files = [...WELL_KNOWN, ...fromBinary(FileDescriptorSetSchema, set).file];
  const file = closure(files, (name) => XDS_ROOTS.some((root) => root.test(name)));
  for (const { messageType } of file) for (const message of messageType) nameForJson(message);
  return toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file }));
};
