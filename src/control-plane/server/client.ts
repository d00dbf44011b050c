// One client: the subscriptions of one aggregated stream, or of all streams by which one node asks each service apart. Here is
// decided what goes out when: the order of the types, and what has to wait for what. Nothing waits without saying so, and what is
// new waits only so long: a client that is stuck must still get what would free it.

import { timerMs } from '../../platform/timer.ts';
import type { Served, ServedResource } from '../snapshot.ts';
import { PUSH_ORDER, REMOVALS_AFTER, type TypeName, UPDATES_AFTER } from '../types.ts';
import { Subscription, type SubscriptionStatus, type Wait } from './subscription.ts';
import type { AnyRequest, Meaning, Node, Transport } from './transport.ts';

/** Longer than Envoy's own wait for the first answer of a cluster's endpoints or of a name server, ms. */
export const ANSWER_PATIENCE_MS = 15_000;
/** A client that was connected before asks for all that it had within this time, ms. */
export const RESUME_PATIENCE_MS = 5_000;

/** One stream to write to. */
export interface Channel {
  transport: Transport<AnyRequest>;
  /** What was written before has left. */
  free: boolean;
  /** Something waits for that. */
  stalled: boolean;
  write(type: TypeName, body: Uint8Array, nonce: string): void;
}

export interface ClientStatus {
  id: string;
  connectedAt: number;
  transport: string;
  /** All that it subscribes to is acknowledged as it is served now. */
  upToDate: boolean;
  types: Partial<Record<TypeName, SubscriptionStatus>>;
}

interface Entry {
  subscription: Subscription;
  channel: Channel;
}

const NEVER = Number.POSITIVE_INFINITY;

const orderOf = (type: TypeName): number => PUSH_ORDER.indexOf(type);

export class Client {
  readonly node: Node;
  readonly transport: string;
  readonly served: Served;
  readonly connectedAt = Date.now();
  #entries: Entry[] = [];
  /** Assignments of changed clusters that went out before their endpoints were asked for. */
  #warming = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  /** Date.now() */
  #wakesAt = NEVER;

  constructor(node: Node, transport: string, served: Served) {
    this.node = node;
    this.transport = transport;
    this.served = served;
  }

  get id(): string {
    return this.node.id;
  }

  get subscriptions(): Subscription[] {
    return this.#entries.map(({ subscription }) => subscription);
  }

  request(
    channel: Channel,
    type: TypeName,
    request: AnyRequest,
  ): { was: Meaning; subscription: Subscription } {
    let entry = this.#entries.find((each) => each.channel === channel && each.subscription.type === type);
    if (entry) {
      const was = channel.transport.take(entry.subscription, request);
      return { was, subscription: entry.subscription };
    }
    const subscription = new Subscription(type);
    entry = { subscription, channel };
    channel.transport.open(subscription, request, this.served.get(type));
    if (type === 'endpoint') {
      for (const name of this.#warming) if (subscription.held.has(name)) subscription.again.add(name);
      this.#warming.clear();
    }
    this.#entries.push(entry);
    this.#entries.sort((one, other) => orderOf(one.subscription.type) - orderOf(other.subscription.type));
    return { was: 'subscribe', subscription };
  }

  /** The stream is over. Returns whether it was the last one. */
  leave(channel: Channel): boolean {
    this.#entries = this.#entries.filter((entry) => entry.channel !== channel);
    if (this.#entries.length === 0) clearTimeout(this.#timer);
    return this.#entries.length === 0;
  }

  /** Sends what it lacks of this type, or of all, as far as it may go out now. */
  push(only?: TypeName): void {
    let again = NEVER;
    for (const entry of this.#entries) {
      if (only === undefined || entry.subscription.type === only)
        again = Math.min(again, this.#advance(entry));
    }
    if (again < this.#wakesAt) this.#wakeAt(again);
  }

  #wakeAt(at: number): void {
    clearTimeout(this.#timer);
    this.#wakesAt = at;
    const wake = () => {
      this.#wakesAt = NEVER;
      this.push();
    };
    this.#timer = setTimeout(wake, timerMs(Math.max(1, at - Date.now()))).unref();
  }

  /** Returns when to look again even if nothing happens until then. */
  #advance({ subscription, channel }: Entry): number {
    const { type } = subscription;
    const snapshot = this.served.get(type);
    const before = subscription.waits;
    subscription.waits = [];
    const lacks = subscription.lacks(snapshot);
    const news = subscription.due || lacks.changed.length > 0;
    if (!news && lacks.removed.length === 0) return NEVER;

    const now = Date.now();
    const wait = (what: Wait['what'], why: string, from = now): number => {
      const known = before.find((each) => each.what === what && each.why === why)?.since ?? now;
      const since = Math.min(known, from);
      subscription.waits = [...subscription.waits, { what, why, since }];
      return since;
    };
    const { out } = subscription;
    if (out && now - out.at < ANSWER_PATIENCE_MS)
      return wait('updates', `the answer to version ${out.version}`, out.at) + ANSWER_PATIENCE_MS;
    if (!channel.free) {
      channel.stalled = true;
      wait('updates', 'the client to read what was sent before');
      return NEVER;
    }
    const others = news ? this.#first(UPDATES_AFTER[type], (each) => this.#updating(each)) : undefined;
    if (others) {
      const until = wait('updates', `the ACK of ${others.type}`, others.out?.at) + ANSWER_PATIENCE_MS;
      if (now < until) return until;
      subscription.waits = [];
    }
    let until = NEVER;
    let keep = false;
    if (lacks.removed.length > 0) {
      const users = this.#first(REMOVALS_AFTER[type], (each) => !this.#inForce(each));
      const returning = this.#stillReturning(subscription, REMOVALS_AFTER[type]);
      if (users) wait('removals', `the ACK of ${users.type}`);
      else if (returning) {
        until = this.connectedAt + RESUME_PATIENCE_MS;
        wait('removals', `it to ask for ${returning} again`);
      }
      keep = users !== undefined || returning !== undefined;
    }
    const message = channel.transport.compose(subscription, snapshot, keep);
    if (message) {
      if (type === 'cluster') this.#warm(lacks.changed);
      channel.write(type, message.body, message.nonce);
    }
    return until;
  }

  /** The first subscription to one of these types of which that is true. */
  #first(types: readonly TypeName[] = [], is: (subscription: Subscription) => boolean) {
    return this.subscriptions.find((each) => types.includes(each.type) && is(each));
  }

  #updating(subscription: Subscription): boolean {
    if (subscription.out || subscription.due) return true;
    return subscription.lacks(this.served.get(subscription.type)).changed.length > 0;
  }

  #inForce(subscription: Subscription): boolean {
    return !subscription.refusal && !this.#updating(subscription);
  }

  /** After a reconnect the types come one after the other: one that is still to come may name what is gone. */
  #stillReturning(subscription: Subscription, types: readonly TypeName[] = []): TypeName | undefined {
    if (!subscription.resumed || Date.now() - this.connectedAt >= RESUME_PATIENCE_MS) return undefined;
    return types.find((type) => !this.#entries.some((each) => each.subscription.type === type));
  }

  /** A changed cluster forgets its endpoints, and warms until it is sent them again. */
  #warm(clusters: readonly ServedResource[]): void {
    const names = clusters.flatMap(({ assignment }) => assignment ?? []);
    const endpoints = this.#entries.filter(({ subscription }) => subscription.type === 'endpoint');
    for (const name of names) {
      if (endpoints.length === 0) this.#warming.add(name);
      for (const { subscription } of endpoints) if (subscription.held.has(name)) subscription.again.add(name);
    }
  }

  /** It has answered for what is served now of this type, taken or refused, or never asked for it. */
  settled(type: TypeName): boolean {
    return this.#entries.every(
      ({ subscription }) =>
        subscription.type !== type || subscription.settled(this.served.get(subscription.type)),
    );
  }

  get upToDate(): boolean {
    return this.answered && this.subscriptions.every(({ refusal }) => !refusal);
  }

  /** It has answered for all that is served now, taken or refused. */
  get answered(): boolean {
    const listeners = this.#entries.filter(({ subscription }) => subscription.type === 'listener');
    if (listeners.length === 0) return false;
    // A sidecar's listener takes no calls before it has its routes.
    const sidecar = listeners.some(({ subscription }) => subscription.wildcard);
    if (sidecar && this.served.get('listener').resources.size > 0 && !this.#has('route')) return false;
    return this.#entries.every(({ subscription }) =>
      subscription.settled(this.served.get(subscription.type)),
    );
  }

  #has(type: TypeName): boolean {
    return this.#entries.some(({ subscription }) => subscription.type === type);
  }

  status(): ClientStatus {
    const types: ClientStatus['types'] = {};
    for (const { subscription } of this.#entries) {
      const { type } = subscription;
      const status = subscription.status();
      const known = types[type];
      // Asked apart, each route configuration and each secret has a stream of its own.
      types[type] = known ? together(known, status) : status;
    }
    const { id, connectedAt, transport, upToDate } = this;
    return { id, connectedAt, transport, upToDate, types };
  }
}

/** Of several streams of one type: what went out last, and the sum of the rest. */
const together = (one: SubscriptionStatus, other: SubscriptionStatus): SubscriptionStatus => ({
  ...one,
  ...other,
  names: one.names === '*' || other.names === '*' ? '*' : [...one.names, ...other.names],
  waiting: one.waiting || other.waiting,
  acks: one.acks + other.acks,
  nacks: one.nacks + other.nacks,
  heldBack: [...one.heldBack, ...other.heldBack],
});
