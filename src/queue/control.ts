// The queue's end of layby.v1.Edge: policy and link come in, the backlog goes out. Without a control plane the queue goes on
// with the policy that it had, also after a restart.

import * as grpc from '@grpc/grpc-js';
import { loadLastGood, saveLastGood } from '../policy/last-good.ts';
import type { Policy } from '../policy/policy.ts';
import type { LinkWord } from '../replay/why.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { type Address, formatAddress } from '../wire/address.ts';
import { EdgeClient, type EdgeState, type NetworkMessage, type QueueReport } from '../wire/edge-service.ts';
import type { Backlog } from './backlog.ts';

/** At the start the control plane has so long to say what it knows, ms. */
const ALONE_MS = 2_000;
/** Pauses between attempts to attach, ms. */
const RECONNECT_MS = 200;

type Client = grpc.Client & { Attach(): grpc.ClientDuplexStream<QueueReport, EdgeState> };

export interface ControlOptions {
  address: Address;
  /** The last policy is kept here. */
  dir: string;
  backlog: Backlog;
  log: Logger;
  onPolicy: (policy: Policy) => void;
  onLink: (destination: string, link: LinkWord) => void;
  onNetwork: (network: NetworkMessage) => void;
  /** The control plane has said all it knows, or it is not there. */
  onKnown: () => void;
}

export class Control {
  #options: ControlOptions;
  #client: Client;
  #timer: NodeJS.Timeout | undefined;
  #alone: NodeJS.Timeout | undefined;
  #closed = false;
  #policyVersion = '';
  #call: grpc.ClientDuplexStream<QueueReport, EdgeState> | undefined;

  constructor(options: ControlOptions) {
    this.#options = options;
    const { address } = options;
    const target = 'unix' in address ? `unix:${address.unix}` : formatAddress(address);
    this.#client = new EdgeClient(target, grpc.credentials.createInsecure(), {
      'grpc.initial_reconnect_backoff_ms': RECONNECT_MS,
      'grpc.max_reconnect_backoff_ms': 1_000,
      'grpc.min_reconnect_backoff_ms': RECONNECT_MS,
      'grpc.keepalive_time_ms': 10_000,
    }) as unknown as Client;
  }

  /** Takes the last good policy from the disk, then attaches and stays attached. */
  start(): void {
    try {
      const policy = loadLastGood(this.#options.dir);
      if (policy) this.#take(policy);
    } catch (error) {
      this.#options.log.error(
        { err: error },
        'the last good policy cannot be read; waiting for the control plane',
      );
    }
    this.#alone = setTimeout(this.#options.onKnown, ALONE_MS);
    this.#attach();
  }

  #take(policy: Policy): void {
    this.#policyVersion = policy.version;
    this.#options.onPolicy(policy);
  }

  #attach(): void {
    const { backlog, log } = this.#options;
    const call = this.#client.Attach();
    this.#call = call;
    let attached = false;
    const report = (lanes: QueueReport['lanes']) => {
      call.write({ pid: process.pid, policy_version: this.#policyVersion, lanes });
    };
    call.on('data', (state: EdgeState) => {
      if (state.policy) void this.#newPolicy(state.policy, () => report([]));
      if (state.network) this.#options.onNetwork(state.network);
      for (const { destination, link_up, link_by, link_since, link_slow, in_force } of state.destinations) {
        this.#options.onLink(destination, {
          up: link_up,
          slow: link_slow,
          by: link_by,
          since: link_since,
        });
        backlog.inForce(destination, in_force);
      }
      if (!attached) {
        attached = true;
        log.info('attached to the control plane');
        backlog.attach(report);
        this.#options.onKnown();
      }
    });
    call.on('error', (error) => {
      if (attached && !this.#closed)
        log.warn({ err: messageOf(error) }, 'control plane lost; going on with the last policy');
    });
    call.on('status', () => {
      backlog.detach();
      if (!this.#closed) this.#timer = setTimeout(() => this.#attach(), RECONNECT_MS);
    });
  }

  async #newPolicy(message: { version: string; json: string }, acknowledge: () => void): Promise<void> {
    if (message.version === this.#policyVersion) return;
    const policy = JSON.parse(message.json) as Policy;
    this.#take(policy);
    acknowledge();
    try {
      await saveLastGood(this.#options.dir, policy);
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
    clearTimeout(this.#alone);
    this.#call?.cancel();
    this.#client.close();
  }
}
