// Sidecars for bench/control-plane.ts, many in one process: they ask for what Envoy asks for, acknowledge all of it, and do nothing with
// it. A response is not decoded, only its type, version and nonce are read, so that the clients leave the cores to the server.

import * as grpc from '@grpc/grpc-js';
import { TYPES, type TypeName, typeOf } from '../src/control-plane/types.ts';
import { loadXds } from '../src/control-plane/xds/registry.ts';
import { answerQuestions } from './worker.ts';

export type Variant = 'sotw' | 'delta';

export type ClientsQuestion =
  | { ask: 'connect'; target: string; variant: Variant; count: number }
  /** From now on: what of these types comes to each client. */
  | { ask: 'arm'; types: TypeName[] }
  /** When each client has had each of them. */
  | { ask: 'collect' };

/** For each client, when it had the last of them (ms since the epoch); and the bytes that came to all. */
export interface Collected {
  at: number[];
  bytes: number;
}

interface Response {
  type: TypeName | undefined;
  version: string;
  nonce: string;
}

/** DiscoveryResponse and DeltaDiscoveryResponse have these three in the same places: 1 version, 4 type URL, 5 nonce. */
function read(message: Buffer): Response {
  const found: Record<number, string> = {};
  for (let at = 0; at < message.length; ) {
    const tag = message[at++]!;
    if ((tag & 7) === 0) {
      while (message[at++]! > 127);
      continue;
    }
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message[at++]!;
      length += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
    }
    const field = tag >> 3;
    if (field === 1 || field === 4 || field === 5) found[field] = message.toString('latin1', at, at + length);
    at += length;
  }
  return { type: typeOf(found[4] ?? ''), version: found[1] ?? '', nonce: found[5] ?? '' };
}

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

const { services } = await loadXds();
const missing: Set<TypeName>[] = [];
const arrived: number[] = [];
let bytes = 0;
let left = 0;
let done: PromiseWithResolvers<void> | undefined;

function arm(types: TypeName[]): void {
  bytes = 0;
  left = missing.length;
  for (let at = 0; at < missing.length; at += 1) missing[at] = new Set(types);
  done = Promise.withResolvers();
}

function came(at: number, type: TypeName | undefined): void {
  const wanted = missing[at]!;
  if (!type || !wanted.delete(type) || wanted.size > 0) return;
  arrived[at] = performance.timeOrigin + performance.now();
  left -= 1;
  if (left === 0) done?.resolve();
}

function connect(target: string, variant: Variant, count: number): void {
  const ads = services.ads[variant === 'delta' ? 'DeltaAggregatedResources' : 'StreamAggregatedResources']!;
  const method = {
    ...ads,
    responseDeserialize: (message: Buffer): Response => {
      bytes += message.length;
      return read(message);
    },
  };
  const Client = grpc.makeGenericClientConstructor({ Stream: method }, 'ADS');
  const names = new Map(WANTED);
  const asking = variant === 'delta' ? 'resource_names_subscribe' : 'resource_names';
  for (let at = 0; at < count; at += 1) {
    const client = new Client(target, grpc.credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': -1,
    });
    const call = client.Stream!() as unknown as grpc.ClientDuplexStream<object, Response>;
    call.on('data', ({ type, version, nonce }: Response) => {
      call.write({
        type_url: type ? TYPES[type] : '',
        response_nonce: nonce,
        ...(variant === 'delta' ? {} : { version_info: version, resource_names: type && names.get(type) }),
      });
      came(at, type);
    });
    call.on('error', (error) => {
      throw error;
    });
    for (const [n, [type, wanted]] of WANTED.entries())
      call.write({
        ...(n === 0 ? { node: { id: `${variant}-${at}`, metadata } } : {}),
        type_url: TYPES[type],
        [asking]: wanted,
      });
  }
}

answerQuestions<ClientsQuestion, Collected | undefined>(async (question) => {
  if (question.ask === 'connect') {
    missing.length = question.count;
    arm(WANTED.map(([type]) => type));
    connect(question.target, question.variant, question.count);
    return undefined;
  }
  if (question.ask === 'arm') {
    arm(question.types);
    return undefined;
  }
  await done?.promise;
  return { at: arrived.slice(0, missing.length), bytes };
});
