// gRPC services for grpc-js by @grpc/proto-loader: Envoy's from the descriptors, Layby's own from proto/. proto-loader carries the
// envelopes only; what is inside an Any is for registry.ts.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { create, type DescFile, type FileRegistry, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import type { ServiceDefinition } from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import { LaybyError } from '../../telemetry/error.ts';

const READING: protoLoader.Options = {
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
};

const OWN = fileURLToPath(new URL('../../../proto', import.meta.url));

/** A package definition has messages and enums too; those have a format. */
const pick = (definition: protoLoader.PackageDefinition, name: string): ServiceDefinition => {
  const found = definition[name];
  if (!found || 'format' in found) {
    throw new LaybyError('LAYBY_XDS_INVALID', `there is no gRPC service ${name}`, {
      remedy: 'this is a fault in Layby: its protos and its program do not fit',
    });
  }
  return found as ServiceDefinition;
};

/** The files of one service, imports first: proto-loader takes long over all of them. */
const filesOf = (file: DescFile, seen = new Set<DescFile>()): Set<DescFile> => {
  if (seen.has(file)) return seen;
  for (const dependency of file.dependencies) filesOf(dependency, seen);
  return seen.add(file);
};

/** Envoy's services for grpc-js, each made on first use (20 to 50 ms). Field names as in the proto; enums and 64-bit integers are
 *  strings. The getters throw LAYBY_XDS_INVALID. */
export class EnvoyServices {
  readonly #registry: FileRegistry;
  readonly #made = new Map<string, ServiceDefinition>();

  constructor(registry: FileRegistry) {
    this.#registry = registry;
  }

  get ads(): ServiceDefinition {
    return this.named('envoy.service.discovery.v3.AggregatedDiscoveryService');
  }

  get csds(): ServiceDefinition {
    return this.named('envoy.service.status.v3.ClientStatusDiscoveryService');
  }

  /** By its full name. */
  named(name: string): ServiceDefinition {
    const made = this.#made.get(name);
    if (made) return made;
    const service = this.#registry.getService(name);
    const file = service ? [...filesOf(service.file)].map((described) => described.proto) : [];
    const set = toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file }));
    const definition = pick(protoLoader.loadFileDescriptorSetFromBuffer(Buffer.from(set), READING), name);
    this.#made.set(name, definition);
    return definition;
  }
}

/** A service of Layby's own by its full name, `layby.v1.…`: read from the .proto files in `root`/layby/v1. Throws LAYBY_XDS_INVALID. */
export const laybyService = (name: string, root = OWN): ServiceDefinition => {
  const directory = join(root, 'layby', 'v1');
  const files = readdirSync(directory).filter((file) => file.endsWith('.proto'));
  const definition = protoLoader.loadSync(
    files.map((file) => join(directory, file)),
    { ...READING, includeDirs: [root] },
  );
  return pick(definition, name);
};
