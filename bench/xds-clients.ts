// Sidecars for bench/xds.ts, in a process of their own: they ask for what Envoy asks for, take all of it, and do nothing with it.

import * as grpc from '@grpc/grpc-js';
import { TYPES, type TypeName } from '../src/control-plane/types.ts';
import { loadXds } from '../src/control-plane/xds/registry.ts';

interface Response {
  type_url: string;
  version_info?: string;
  nonce: string;
}

const [target = '', variant = 'sotw', count = '1'] = process.argv.slice(2);
const { services } = await loadXds();
const method = services.ads[variant === 'delta' ? 'DeltaAggregatedResources' : 'StreamAggregatedResources']!;
const Client = grpc.makeGenericClientConstructor({ Stream: method }, 'ADS');

const WANTED: [TypeName, string[]][] = [
  ['runtime', ['holds']],
  ['cluster', []],
  ['listener', []],
  ['route', ['outbound']],
];
const struct = (fields: Record<string, object>) => ({
  fields: Object.entries(fields).map(([key, value]) => ({ key, value })),
});
const metadata = struct({
  layby: { struct_value: struct({ outbound: { string_value: '127.0.0.1:15001' } }) },
});

for (let at = 0; at < Number(count); at += 1) {
  const client = new Client(target, grpc.credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  const call = client.Stream!() as unknown as grpc.ClientDuplexStream<object, Response>;
  const names = new Map(WANTED.map(([type, wanted]) => [TYPES[type] as string, wanted]));
  call.on('data', ({ type_url, version_info = '', nonce }: Response) =>
    call.write({
      ...{ type_url, response_nonce: nonce },
      ...(variant === 'delta' ? {} : { version_info, resource_names: names.get(type_url) }),
    }),
  );
  call.on('error', () => process.exit(0));
  let node: object | undefined = { id: `${variant}-${at}`, metadata };
  for (const [type, wanted] of WANTED) {
    const key = variant === 'delta' ? 'resource_names_subscribe' : 'resource_names';
    call.write({ ...(node ? { node } : {}), type_url: TYPES[type], [key]: wanted });
    node = undefined;
  }
}
