// The bytes of discovery responses. The body is the same for all clients that have the same and get the same, so it is made once;
// only the nonce is each stream's own, and protobuf lets a field be appended.

import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Difference, ServedResource, ServedResources } from '../snapshot.ts';
import { TYPES, type TypeName } from '../types.ts';
import type { WireAny } from '../xds/registry.ts';

/** Field numbers of envoy.service.discovery.v3: DiscoveryResponse and DeltaDiscoveryResponse have the first four in common. */
const FIELD = { version: 1, resources: 2, typeUrl: 4, nonce: 5, removedResources: 6 } as const;
const RESOURCE = { version: 1, resource: 2, name: 3 } as const;
const ANY = { typeUrl: 1, value: 2 } as const;

const text = (writer: BinaryWriter, field: number, value: string) =>
  writer.tag(field, WireType.LengthDelimited).string(value);

const writeAny = (writer: BinaryWriter, field: number, { type_url, value }: WireAny): void => {
  writer.tag(field, WireType.LengthDelimited).fork();
  text(writer, ANY.typeUrl, type_url);
  writer.tag(ANY.value, WireType.LengthDelimited).bytes(value);
  writer.join();
};

const bodies = new WeakMap<object, Uint8Array>();

const once = (key: object, make: () => Uint8Array): Uint8Array => {
  const known = bodies.get(key);
  if (known) return known;
  const made = make();
  bodies.set(key, made);
  return made;
};

/** DiscoveryResponse without its nonce. */
export const sotwBody = (
  type: TypeName,
  version: string,
  resources: readonly ServedResource[] | ServedResources,
): Uint8Array =>
  once(resources, () => {
    const writer = new BinaryWriter();
    text(writer, FIELD.version, version);
    for (const { any } of resources.values()) writeAny(writer, FIELD.resources, any);
    text(writer, FIELD.typeUrl, TYPES[type]);
    return writer.finish();
  });

/** DeltaDiscoveryResponse without its nonce. */
export const deltaBody = (type: TypeName, version: string, difference: Difference): Uint8Array =>
  once(difference, () => {
    const writer = new BinaryWriter();
    text(writer, FIELD.version, version);
    for (const resource of difference.changed) {
      writer.tag(FIELD.resources, WireType.LengthDelimited).fork();
      text(writer, RESOURCE.version, resource.version);
      writeAny(writer, RESOURCE.resource, resource.any);
      text(writer, RESOURCE.name, resource.name);
      writer.join();
    }
    text(writer, FIELD.typeUrl, TYPES[type]);
    for (const name of difference.removed) text(writer, FIELD.removedResources, name);
    return writer.finish();
  });

export const withNonce = (body: Uint8Array, nonce: string): Buffer => {
  const writer = new BinaryWriter();
  text(writer, FIELD.nonce, nonce);
  return Buffer.concat([body, writer.finish()]);
};
