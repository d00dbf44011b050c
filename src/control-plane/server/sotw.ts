// State of the world: a request names all that is subscribed, and acknowledges by the version. Clusters and listeners are answered
// with all of them, the other types with what has changed.

import { type ServedResource, type TypeSnapshot, versionOf } from '../snapshot.ts';
import { FULL_STATE } from '../types.ts';
import { sotwBody } from './response.ts';
import type { Subscription } from './subscription.ts';
import type { AnyRequest, Meaning, Transport } from './transport.ts';

/** envoy.service.discovery.v3.DiscoveryRequest, as proto-loader gives it. */
export interface DiscoveryRequest extends AnyRequest {
  version_info: string;
  resource_names: string[];
}

/** Still as in the beginning: no names were ever sent, which means everything. */
const legacy = new WeakSet<Subscription>();

function open(subscription: Subscription, request: DiscoveryRequest, snapshot: TypeSnapshot): void {
  if (FULL_STATE.has(subscription.type) && request.resource_names.length === 0) {
    legacy.add(subscription);
    subscription.subscribe('*');
  }
  for (const name of request.resource_names) subscription.subscribe(name);
  subscription.due = true;
  // A version is the hash of all that the client has, so an equal one, whoever gave it, says that it has what is served now. Only
  // these are not sent again. Of what is named, Envoy may have made the subscription anew since (a cluster that warms, a listener
  // that came back): it would wait for an answer that nobody owes. It compares, so the same again disturbs nothing.
  const steady =
    subscription.type === 'runtime' || (FULL_STATE.has(subscription.type) && subscription.wildcard);
  const wanted = subscription.wanted(snapshot);
  const version = wanted === snapshot.resources ? snapshot.version : versionOf(wanted);
  if (steady && request.version_info === version) {
    subscription.resume(wanted, version);
    subscription.due = false;
  }
}

function take(subscription: Subscription, request: DiscoveryRequest): Meaning {
  // Before the first response there is no nonce to be stale against.
  if (subscription.nonce !== undefined && request.response_nonce !== subscription.nonce) return 'stale';
  const was = subscription.answer(request.error_detail ?? undefined);
  const names = rename(subscription, request.resource_names);
  if (names === 'more') subscription.due = true;
  // The same names again, and nothing to acknowledge: a new subscription of Envoy's to what another one of its has.
  if (names === 'same' && was === 'nothing' && !request.error_detail && !FULL_STATE.has(subscription.type))
    for (const name of subscription.names) if (subscription.held.has(name)) subscription.again.add(name);
  return was === 'nothing' ? 'subscribe' : was;
}

function rename(subscription: Subscription, names: string[]): 'same' | 'fewer' | 'more' {
  if (legacy.has(subscription)) {
    if (names.length === 0) return 'same';
    legacy.delete(subscription);
  }
  const before = subscription.asked;
  subscription.names.clear();
  subscription.wildcard = false;
  for (const name of names) subscription.subscribe(name);
  subscription.forgetUnwanted();
  const { asked } = subscription;
  if ([...asked].some((name) => !before.has(name))) return 'more';
  return asked.size === before.size ? 'same' : 'fewer';
}

function compose(subscription: Subscription, snapshot: TypeSnapshot, keepRemoved: boolean) {
  const lacks = subscription.lacks(snapshot);
  const { type, held } = subscription;
  if (!FULL_STATE.has(type)) {
    subscription.due = false;
    if (lacks.changed.length === 0 && lacks.removed.length === 0) return undefined;
    const next = new Map(held);
    for (const name of lacks.removed) next.delete(name);
    for (const resource of lacks.changed) next.set(resource.name, resource);
    // It cannot be said that something is gone: the client keeps it, and is sent it when it is back.
    if (lacks.changed.length === 0) {
      subscription.held = next;
      for (const name of lacks.removed) subscription.again.delete(name);
      return undefined;
    }
    const version = versionOf(next);
    const nonce = subscription.sending(version, next, lacks, false);
    return { body: sotwBody(type, version, lacks.changed), nonce };
  }
  const kept = keepRemoved ? lacks.removed.filter((name) => held.get(name)?.any) : [];
  if (!subscription.due && lacks.changed.length === 0 && lacks.removed.length === kept.length)
    return undefined;
  const wanted = subscription.wanted(snapshot);
  const all =
    kept.length === 0
      ? wanted
      : new Map([...wanted, ...kept.map((name) => [name, held.get(name) as ServedResource] as const)]);
  const version = all === snapshot.resources ? snapshot.version : versionOf(all);
  const nonce = subscription.sending(version, all, lacks, true);
  return { body: sotwBody(type, version, all), nonce };
}

export const sotw: Transport<DiscoveryRequest> = { open, take, compose };
