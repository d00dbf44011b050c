// The gRPC server of the control plane: aggregated discovery for sidecars, and the attachment of queues (attach.ts).

import { EventEmitter } from 'node:events';
import * as grpc from '@grpc/grpc-js';
import { LaybyError } from '../../telemetry/error.ts';
import type { Logger } from '../../telemetry/log.ts';
import { type Address, formatAddress, parseAddress } from '../../wire/address.ts';
import { removeStaleSocket } from '../../wire/http.ts';
import type { Sidecar } from '../resources/resources.ts';
import type { Snapshots } from '../snapshot.ts';
import type { TypeName } from '../types.ts';
import type { Xds } from '../xds/registry.ts';
import { plainStruct } from '../xds/struct.ts';
import { type DiscoveryRequest, type DiscoveryResponse, SotwStream, type StreamStatus } from './sotw.ts';

type AdsCall = grpc.ServerDuplexStream<DiscoveryRequest, DiscoveryResponse>;

interface LaybyMetadata {
  layby?: { outbound?: string; egress?: string; trustedCa?: string };
}

/** What a sidecar says of itself in its node metadata. Errors: LAYBY_ADDRESS_INVALID. */
export function sidecarOf(node: DiscoveryRequest['node']): Sidecar {
  const { outbound, egress, trustedCa } = ((node?.metadata ?? {}) as LaybyMetadata).layby ?? {};
  return {
    ...(outbound ? { outbound: parseAddress(outbound, 'outbound of the sidecar') } : {}),
    ...(egress ? { egress: parseAddress(egress, 'egress of the sidecar') } : {}),
    trustedCa: trustedCa ?? '/etc/ssl/certs/ca-certificates.crt',
  };
}

export class AdsServer extends EventEmitter<{ settled: [] }> {
  #streams = new Set<SotwStream>();
  #snapshots: Snapshots;
  #log: Logger;
  acks = 0;
  nacks = 0;

  constructor(xds: Xds, snapshots: Snapshots, log: Logger) {
    super();
    this.setMaxListeners(0);
    this.#snapshots = snapshots;
    this.#log = log;
    this.service = xds.services.ads;
  }

  readonly service: grpc.ServiceDefinition;
  readonly handlers: grpc.UntypedServiceImplementation = {
    StreamAggregatedResources: ((call: AdsCall) => this.#serve(call)) as grpc.UntypedHandleCall,
    DeltaAggregatedResources: ((call: grpc.ServerDuplexStream<unknown, unknown>) =>
      call.destroy(
        Object.assign(new Error('this control plane serves state of the world'), {
          code: grpc.status.UNIMPLEMENTED,
        }),
      )) as grpc.UntypedHandleCall,
  };

  #serve(call: AdsCall): void {
    const stream = new SotwStream({
      snapshot: (type, sidecar) => this.#snapshots.get(type, sidecar),
      send: (response) => call.write(response),
      settled: () => this.emit('settled'),
      log: this.#log,
    });
    this.#streams.add(stream);
    call.on('data', (request: DiscoveryRequest) => {
      const { acks, nacks, upToDate } = stream;
      try {
        stream.request(request, (node) =>
          sidecarOf({ id: node?.id ?? '', metadata: plainStruct(node?.metadata) }),
        );
      } catch (error) {
        this.#log.error({ err: error, node: request.node?.id }, 'xds request failed');
        call.destroy(error as Error);
      }
      if (!upToDate && stream.upToDate)
        this.#log.info({ node: stream.id }, 'sidecar has taken its configuration');
      this.acks += stream.acks - acks;
      this.nacks += stream.nacks - nacks;
    });
    const leave = () => {
      if (this.#streams.delete(stream)) this.emit('settled');
    };
    call.on('end', () => {
      leave();
      call.end();
    });
    call.on('error', leave);
    call.on('cancelled', leave);
  }

  /** Sends every client what has changed, and nothing else. */
  push(): void {
    for (const stream of this.#streams) stream.push();
  }

  /** Resolves to true when every connected client has answered for what is served now of this type, false after `ms`. */
  async settled(type: TypeName, ms: number): Promise<boolean> {
    const done = () => [...this.#streams].every((stream) => stream.settled(type));
    if (done()) return true;
    return new Promise((resolve) => {
      const finish = (answer: boolean) => {
        clearTimeout(timer);
        this.off('settled', check);
        resolve(answer);
      };
      const check = () => {
        if (done()) finish(true);
      };
      const timer = setTimeout(() => finish(false), ms);
      this.on('settled', check);
    });
  }

  status(): StreamStatus[] {
    return [...this.#streams].filter((stream) => stream.id !== '').map((stream) => stream.status());
  }
}

/** Binds; a port of 0 is replaced by the one that was given. Errors: LAYBY_ADDRESS_IN_USE. */
export async function bindGrpc(server: grpc.Server, address: Address): Promise<Address> {
  await removeStaleSocket(address);
  const target = 'unix' in address ? `unix:${address.unix}` : formatAddress(address);
  try {
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync(target, grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      ),
    );
    return 'unix' in address ? address : { host: address.host, port };
  } catch (error) {
    throw new LaybyError('LAYBY_ADDRESS_IN_USE', `cannot listen on ${formatAddress(address)}`, {
      remedy: 'is another Layby running? end it, or choose another address',
      cause: error,
    });
  }
}
