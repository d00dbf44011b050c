// What the two transports have in common: requests in, what they mean for a subscription, and the response that is owed.

import type { TypeSnapshot } from '../snapshot.ts';
import type { Subscription } from './subscription.ts';

/** envoy.config.core.v3.Node, as proto-loader gives it; of what is kept. */
export interface Node {
  id: string;
  cluster?: string;
  metadata?: unknown;
}

/** What DiscoveryRequest and DeltaDiscoveryRequest have in common, as proto-loader gives it. */
export interface AnyRequest {
  node?: Node | null;
  type_url: string;
  response_nonce: string;
  error_detail?: { message: string } | null;
}

/** What a request was. A stale one, about an older response, changes nothing. */
export type Meaning = 'subscribe' | 'ack' | 'nack' | 'stale';

export interface Transport<Request extends AnyRequest> {
  /** The first request of its type on a stream. */
  open(subscription: Subscription, request: Request, snapshot: TypeSnapshot): void;
  /** Each later one. */
  take(subscription: Subscription, request: Request): Meaning;
  /** The response that is owed now, without its nonce, which the subscription has given; undefined where nothing is to be said.
   *  `keepRemoved`: what is gone is not taken away yet. */
  compose(
    subscription: Subscription,
    snapshot: TypeSnapshot,
    keepRemoved: boolean,
  ): { body: Uint8Array; nonce: string } | undefined;
}
