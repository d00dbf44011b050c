// State of the world over one ADS stream: each response carries all that is subscribed of a type. What to serve is the
// catalog's, what was served is the subscription's.

import type { Logger } from '../../telemetry/log.ts';
import type { Sidecar } from '../resources/resources.ts';
import type { Any, TypeSnapshot } from '../snapshot.ts';
import { PUSH_ORDER, TYPES, type TypeName, typeOf, WILDCARD } from '../types.ts';
import { Subscription, type SubscriptionStatus } from './subscription.ts';

/** envoy.service.discovery.v3.DiscoveryRequest, as proto-loader gives it. */
export interface DiscoveryRequest {
  version_info: string;
  node?: { id: string; metadata?: unknown } | null;
  resource_names: string[];
  type_url: string;
  response_nonce: string;
  error_detail?: { message: string } | null;
}

export interface DiscoveryResponse {
  version_info: string;
  resources: Any[];
  type_url: string;
  nonce: string;
}

export interface StreamStatus {
  id: string;
  connectedAt: number;
  /** Every subscribed type is acknowledged at the version that is served now. */
  upToDate: boolean;
  types: Partial<Record<TypeName, SubscriptionStatus>>;
}

export interface StreamOptions {
  snapshot: (type: TypeName, sidecar: Sidecar) => TypeSnapshot;
  send: (response: DiscoveryResponse) => void;
  /** After each ACK or NACK. */
  settled: () => void;
  log: Logger;
}

export class SotwStream {
  readonly connectedAt = Date.now();
  id = '';
  #sidecar: Sidecar | undefined;
  #subscriptions = new Map<TypeName, Subscription>();
  #options: StreamOptions;
  acks = 0;
  nacks = 0;

  constructor(options: StreamOptions) {
    this.#options = options;
  }

  request(request: DiscoveryRequest, sidecarOf: (node: DiscoveryRequest['node']) => Sidecar): void {
    if (request.node?.id) {
      this.id = request.node.id;
      this.#sidecar = sidecarOf(request.node);
    }
    const type = typeOf(request.type_url);
    if (!type || !this.#sidecar) {
      this.#options.log.warn({ node: this.id, type: request.type_url }, 'xds request for what is not served');
      return;
    }
    let subscription = this.#subscriptions.get(type);
    if (!subscription) {
      subscription = new Subscription(WILDCARD.has(type));
      this.#subscriptions.set(type, subscription);
    }
    const what = subscription.request(
      request.resource_names,
      request.response_nonce,
      request.error_detail ?? undefined,
    );
    if (what === 'ack') this.acks += 1;
    if (what === 'nack') {
      this.nacks += 1;
      this.#options.log.error(
        { node: this.id, type, nack: request.error_detail?.message },
        'sidecar refused',
      );
    }
    this.#push(type);
    if (what === 'ack' || what === 'nack') this.#options.settled();
  }

  /** Sends what has changed. */
  push(): void {
    for (const type of PUSH_ORDER) this.#push(type);
  }

  #push(type: TypeName): void {
    const subscription = this.#subscriptions.get(type);
    if (!subscription || !this.#sidecar) return;
    const snapshot = this.#options.snapshot(type, this.#sidecar);
    const names = subscription.owed(snapshot);
    if (!names) return;
    this.#options.send({
      version_info: snapshot.version,
      resources: names.map((name) => snapshot.resources.get(name)!),
      type_url: TYPES[type],
      nonce: subscription.sending(snapshot.version),
    });
  }

  /** True where the client has answered for what is served now, or never asked for this type. */
  settled(type: TypeName): boolean {
    const subscription = this.#subscriptions.get(type);
    return (
      !subscription ||
      !this.#sidecar ||
      subscription.settled(this.#options.snapshot(type, this.#sidecar).version)
    );
  }

  /** Everything that it subscribes to is acknowledged as it is served now. */
  get upToDate(): boolean {
    const sidecar = this.#sidecar;
    // A listener takes no calls before it has its routes.
    if (!sidecar || !this.#subscriptions.has('listener') || !this.#subscriptions.has('route')) return false;
    return [...this.#subscriptions].every(
      ([type, subscription]) => subscription.acked === this.#options.snapshot(type, sidecar).version,
    );
  }

  status(): StreamStatus {
    const types: StreamStatus['types'] = {};
    for (const [type, subscription] of this.#subscriptions) types[type] = subscription.status();
    return { id: this.id, connectedAt: this.connectedAt, upToDate: this.upToDate, types };
  }
}
