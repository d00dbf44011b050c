// The xDS messages as Envoy documents them: JSON in, bytes out, and back. Refuses what the protos do not have, and says where. What
// the resources are is for ../resources; the gRPC services around them are in services.ts.

import {
  createFileRegistry,
  type DescMessage,
  type FileRegistry,
  fromBinary,
  fromJson,
  type JsonObject,
  type JsonValue,
  toBinary,
  toJson,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { type FindXdsOptions, findXdsDescriptors } from '../../parts/xds-descriptors.ts';
import { LaybyError, messageOf } from '../../telemetry/error.ts';
import { locate } from './locate.ts';
import { EnvoyServices } from './services.ts';

/** google.protobuf.Any as @grpc/proto-loader takes and gives it. */
export interface WireAny {
  type_url: string;
  value: Buffer;
}

/** proto3 JSON of a message. Its fields are checked when it is encoded; `undefined` is refused there. */
export type Json = Readonly<Record<string, unknown>>;

/** The same with its type: `{'@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', …}`. */
export type TypedJson = Json & { readonly '@type': string };

const PREFIX = 'type.googleapis.com/';
const REMEDY = 'this is a fault in what Layby generates, or its xDS descriptors are older than what it uses';

const invalid = (message: string, cause?: unknown): LaybyError =>
  new LaybyError('LAYBY_XDS_INVALID', message, { remedy: REMEDY, cause });

/** What a reader knows the resource by. */
const nameOf = (json: Json): string => {
  const name = json.name ?? json.clusterName ?? json.cluster_name;
  return typeof name === 'string' ? ` "${name}"` : '';
};

export class Xds {
  readonly registry: FileRegistry;
  readonly services: EnvoyServices;

  /** `set`: a serialized FileDescriptorSet, complete and in the order of imports. Throws LAYBY_XDS_INVALID. */
  constructor(set: Uint8Array) {
    try {
      this.registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, set));
    } catch (cause) {
      throw new LaybyError('LAYBY_XDS_INVALID', `the xDS descriptors cannot be read: ${messageOf(cause)}`, {
        remedy: 'remove the file they came from, or make it anew with scripts/fetch-parts.ts',
        cause,
      });
    }
    this.services = new EnvoyServices(this.registry);
  }

  #message(typeName: string): DescMessage {
    const message = this.registry.getMessage(typeName);
    if (!message) throw invalid(`the xDS descriptors have no message ${typeName}`);
    return message;
  }

  /** The bytes of a message given in proto3 JSON, field names in camelCase or as in the proto; equal JSON gives equal bytes. Throws
   *  LAYBY_XDS_INVALID with the resource's name and the path, for anything Envoy's protos do not have. */
  encode(typeName: string, json: Json): Buffer {
    const message = this.#message(typeName);
    const fields = json as JsonObject;
    try {
      const bytes = toBinary(message, fromJson(message, fields, { registry: this.registry }));
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    } catch (cause) {
      const { path, reason } = locate(this.registry, message, fields, cause);
      throw invalid(`${message.name}${nameOf(json)}: ${path ? `${path}: ` : ''}${reason}`, cause);
    }
  }

  /** A resource as the discovery services carry it. Throws LAYBY_XDS_INVALID, as encode. */
  any(json: TypedJson): WireAny {
    const { '@type': url, ...rest } = json;
    return { type_url: url, value: this.encode(url.slice(url.lastIndexOf('/') + 1), rest) };
  }

  /** The proto3 JSON of a message, in camelCase, without what has its default value. Throws LAYBY_XDS_INVALID. */
  decode(typeName: string, bytes: Uint8Array): JsonValue {
    const message = this.#message(typeName);
    try {
      return toJson(message, fromBinary(message, bytes), { registry: this.registry });
    } catch (cause) {
      throw invalid(`these bytes are no ${message.name}: ${messageOf(cause)}`, cause);
    }
  }

  /** A resource out of a discovery response or CSDS. Throws LAYBY_XDS_INVALID. */
  decodeAny(any: { type_url: string; value: Uint8Array }): JsonObject {
    const typeName = any.type_url.slice(any.type_url.lastIndexOf('/') + 1);
    return { '@type': `${PREFIX}${typeName}`, ...(this.decode(typeName, any.value) as JsonObject) };
  }
}

/** Reads the descriptors wherever findXdsDescriptors finds them: about 80 ms and 40 MB, so once a process. Rejects with what
 *  findXdsDescriptors says, and LAYBY_XDS_INVALID. */
export const loadXds = async (options: FindXdsOptions = {}): Promise<Xds> =>
  new Xds(await findXdsDescriptors(options));
