// The queue's end of layby.v1.Edge: policy and link come in, the backlog goes out. Without a control plane the queue goes on with the
// policy that it had, also after a restart, and with the overrides and the kind of link that the control plane left on the disk.
// Where it left none, replay waits for it: an override may be among what is not known.

import * as grpc from '@grpc/grpc-js';
import { asPolicy } from '../policy/as-policy.ts';
import type { Policy } from '../policy/policy.ts';
import type { LinkWord } from '../replay/why.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { type Address, formatAddress } from '../wire/address.ts';
import { EdgeClient, type EdgeState, type NetworkMessage, type QueueReport } from '../wire/edge-service.ts';
import { type LinkMemory, overrideOf } from '../wire/link-memory.ts';
import type { Attachment, Backlog } from './backlog.ts';

/** Pauses between attempts to attach, ms. */
const RECONNECT_MS = 200;

/** One stream to the control plane. `status` comes last, and once, whatever ends it. */
export interface EdgeCall {
  write(report: QueueReport): unknown;
  on(event: 'data', listener: (state: EdgeState) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'status', listener: () => void): unknown;
  cancel(): void;
}

export interface EdgeTransport {
  attach(): EdgeCall;
  close(): void;
}

/** Over gRPC, without TLS. */
export function edgeTransport(address: Address): EdgeTransport {
  const target = 'unix' in address ? `unix:${address.unix}` : formatAddress(address);
  const client = new EdgeClient(target, grpc.credentials.createInsecure(), {
    'grpc.initial_reconnect_backoff_ms': RECONNECT_MS,
    'grpc.max_reconnect_backoff_ms': 1_000,
    'grpc.min_reconnect_backoff_ms': RECONNECT_MS,
    'grpc.keepalive_time_ms': 10_000,
  }) as unknown as grpc.Client & { Attach(): grpc.ClientDuplexStream<QueueReport, EdgeState> };
  return { attach: () => client.Attach(), close: () => client.close() };
}

/** Keeps the last policy for the next start. */
export interface LastGoodPolicy {
  /** Throws where there is one that cannot be used. */
  load(): Policy | undefined;
  save(policy: Policy): Promise<void>;
}

export interface ControlOptions {
  transport: EdgeTransport;
  lastGood: LastGoodPolicy;
  backlog: Backlog;
  log: Logger;
  onPolicy: (policy: Policy) => void;
  onLink: (destination: string, link: LinkWord) => void;
  onNetwork: (network: NetworkMessage) => void;
  /** Reads what the control plane left on the disk; undefined: nothing is known. */
  remembered: () => LinkMemory | undefined;
  /** The overrides of all links are known: from the control plane, or from what it left on the disk. */
  onKnown: () => void;
}

export class Control {
  #options: ControlOptions;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #policy: Policy | undefined;
  /** The version of a policy that could not be taken, so that it is logged once. */
  #refused = '';
  #destinations: string[] = [];
  /** As told last, by destination. */
  #links = new Map<string, LinkWord>();
  /** The kind of link, as told last; JSON. */
  #network = '';
  #call: EdgeCall | undefined;

  constructor(options: ControlOptions) {
    this.#options = options;
  }

  /** Takes the last good policy from the disk, then attaches and stays attached. */
  start(): void {
    try {
      const policy = this.#options.lastGood.load();
      if (policy) this.#take(policy);
    } catch (error) {
      this.#options.log.error(
        { err: error },
        'the last good policy cannot be read; waiting for the control plane',
      );
    }
    this.#attach();
  }

  /** All of it is in force, or, where it throws, the one before. */
  #take(policy: Policy): void {
    try {
      this.#options.onPolicy(policy);
    } catch (error) {
      if (this.#policy) this.#options.onPolicy(this.#policy);
      throw error;
    }
    this.#policy = policy;
    this.#destinations = policy.destinations.map(({ name }) => name);
  }

  #link(destination: string, link: LinkWord): void {
    this.#links.set(destination, link);
    this.#options.onLink(destination, link);
  }

  #setNetwork(network: NetworkMessage): void {
    const told = JSON.stringify(network);
    if (told === this.#network) return;
    this.#network = told;
    this.#options.onNetwork(network);
  }

  /** While the control plane is away: what it wrote down last is what it was told last. */
  #recall(): void {
    const memory = this.#options.remembered();
    if (!memory) return;
    for (const destination of this.#destinations) {
      const override = overrideOf(memory, destination);
      const link = this.#links.get(destination);
      const overridden = link?.by === 'override';
      if (override === 'auto' ? link && !overridden : overridden && link?.up === (override === 'up'))
        continue;
      const by = override === 'auto' ? 'default' : 'override';
      this.#link(destination, { up: override !== 'down', by, since: 0 });
    }
    if (memory.network && this.#network === '') this.#setNetwork(memory.network);
    this.#options.onKnown();
  }

  #attach(): void {
    const { backlog, log } = this.#options;
    this.#recall();
    const call = this.#options.transport.attach();
    this.#call = call;
    let attachment: Attachment | undefined;
    const report = (lanes: QueueReport['lanes']) => {
      call.write({ pid: process.pid, policy_version: this.#policy?.version ?? '', lanes });
    };
    call.on('data', (state: EdgeState) => {
      // Of a stream that has ended nothing counts any more.
      if (call !== this.#call) return;
      if (state.policy) void this.#newPolicy(state.policy, () => report([]));
      if (state.network) this.#setNetwork(state.network);
      for (const { destination, link_up, link_by, link_since, link_slow, in_force } of state.destinations) {
        this.#link(destination, { up: link_up, slow: link_slow, by: link_by, since: link_since });
        attachment?.inForce(destination, in_force);
      }
      if (attachment) return;
      log.info('attached to the control plane');
      attachment = backlog.attach(report);
      this.#options.onKnown();
    });
    call.on('error', (error) => {
      if (attachment && !this.#closed)
        log.warn({ err: messageOf(error) }, 'control plane lost; going on with the last policy');
    });
    call.on('status', () => {
      attachment?.detach();
      if (this.#call === call) this.#call = undefined;
      if (!this.#closed) this.#timer = setTimeout(() => this.#attach(), RECONNECT_MS);
    });
  }

  async #newPolicy(message: { version: string; json: string }, acknowledge: () => void): Promise<void> {
    const { version, json } = message;
    if (version === this.#policy?.version || version === this.#refused) return;
    let policy: Policy;
    try {
      policy = asPolicy(version, json);
      this.#take(policy);
    } catch (error) {
      this.#refused = version;
      this.#options.log.error({ err: error, version }, 'policy refused; the one before stays in force');
      return;
    }
    this.#refused = '';
    acknowledge();
    try {
      await this.#options.lastGood.save(policy);
    } catch (error) {
      this.#options.log.error(
        { err: error },
        'the policy is in force but could not be kept for the next start',
      );
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#call?.cancel();
    this.#options.transport.close();
  }
}
