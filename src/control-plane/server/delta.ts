// Delta: requests say what is subscribed and unsubscribed since the last one, responses what has changed and what is gone. After a
// reconnect the client says what it has, version by version, so only what differs goes out.

import { type Difference, type TypeSnapshot, versionOf } from '../snapshot.ts';
import { FULL_STATE } from '../types.ts';
import { deltaBody } from './response.ts';
import type { Held, Subscription } from './subscription.ts';
import type { AnyRequest, Meaning, Transport } from './transport.ts';

/** envoy.service.discovery.v3.DeltaDiscoveryRequest, as proto-loader gives it (a map is a list of its entries). */
export interface DeltaDiscoveryRequest extends AnyRequest {
  resource_names_subscribe: string[];
  resource_names_unsubscribe: string[];
  initial_resource_versions: { key: string; value: string }[];
}

function open(subscription: Subscription, request: DeltaDiscoveryRequest): void {
  const { resource_names_subscribe: names, initial_resource_versions: versions } = request;
  if (names.length === 0 && FULL_STATE.has(subscription.type)) subscription.subscribe('*');
  for (const name of names) subscription.subscribe(name);
  for (const name of request.resource_names_unsubscribe) subscription.unsubscribe(name);
  if (versions.length > 0) {
    const held = new Map(versions.map(({ key: name, value: version }) => [name, { version }]));
    subscription.resume(held, versionOf(held));
    subscription.forgetUnwanted();
  }
  // Who asks for everything, and has nothing, is told when there is nothing.
  subscription.due = subscription.wildcard && versions.length === 0;
  // What does not exist is said to be gone.
  for (const name of subscription.names) if (!subscription.held.has(name)) subscription.again.add(name);
}

function take(subscription: Subscription, request: DeltaDiscoveryRequest): Meaning {
  const { response_nonce: nonce, resource_names_subscribe: names } = request;
  // Subscriptions count whatever the nonce; only what it says of a response is about that one.
  let was: Meaning = nonce === '' ? 'subscribe' : 'stale';
  if (nonce !== '' && nonce === subscription.out?.nonce) {
    const answer = subscription.answer(request.error_detail ?? undefined);
    if (answer !== 'nothing') was = answer;
  }
  for (const name of names) {
    if (name === '*' && !subscription.wildcard) subscription.due = true;
    subscription.subscribe(name);
    // The client may have forgotten what it was sent: what it asks for it gets.
    if (name !== '*') subscription.again.add(name);
  }
  for (const name of request.resource_names_unsubscribe) subscription.unsubscribe(name);
  subscription.forgetUnwanted();
  return was;
}

function compose(subscription: Subscription, snapshot: TypeSnapshot, keepRemoved: boolean) {
  const lacks = subscription.lacks(snapshot);
  const { type, held } = subscription;
  const kept = keepRemoved ? lacks.removed.filter((name) => held.has(name)) : [];
  const said: Difference =
    kept.length === 0
      ? lacks
      : { changed: lacks.changed, removed: lacks.removed.filter((name) => !held.has(name)) };
  if (!subscription.due && said.changed.length === 0 && said.removed.length === 0) return undefined;
  const whole = subscription.wildcard && subscription.names.size === 0 && kept.length === 0;
  const next: Held = whole ? snapshot.resources : after(held, said);
  const version = next === snapshot.resources ? snapshot.version : versionOf(next);
  const nonce = subscription.sending(version, next, said, false);
  return { body: deltaBody(type, version, said), nonce };
}

function after(held: Held, { changed, removed }: Difference): Held {
  const next = new Map(held);
  for (const resource of changed) next.set(resource.name, resource);
  for (const name of removed) next.delete(name);
  return next;
}

export const delta: Transport<DeltaDiscoveryRequest> = { open, take, compose };
