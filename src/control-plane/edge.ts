// Where the three inputs of a destination meet: its policy, its link, and its lane at the queue. Out of them come the holds
// (to the sidecars) and what the queue must know (policy, link, which holds are in force).

import type { Network } from '../link/network.ts';
import { isHeld, type LinkState } from '../link/state.ts';
import type { Destination, Policy } from '../policy/policy.ts';
import { strandedBy } from '../policy/stranded.ts';
import type { Logger } from '../telemetry/log.ts';
import type { EdgeState, Lane, NetworkMessage, QueueReport } from '../wire/edge-service.ts';
import { type HoldState, holdState, whyHeld } from './hold.ts';
import { storedIn } from './orphaned.ts';
import type { DiscoveryServer } from './server/discovery.ts';
import type { Snapshots } from './snapshots.ts';

/** A sidecar that does not acknowledge a hold in this time (ms) is hung: the receipt does not wait for it any longer. */
const HOLD_PATIENCE_MS = 500;

export interface DestinationStatus {
  name: string;
  hosts: string[];
  upstream: string;
  hold: boolean;
  state: HoldState;
  why: string;
  link: LinkState;
  entries: number;
  bytes: number;
  dead: number;
  quarantined: number;
  oldest: string | null;
}

const networkMessage = (network: Network | undefined): NetworkMessage => ({
  kind: network?.kind ?? '',
  interface: network?.interface ?? '',
  metered: network?.metered ?? false,
  roaming: network?.roaming ?? false,
});

const UNKNOWN_LINK: LinkState = { state: 'up', by: 'default', since: 0 };

export class Edge {
  #snapshots: Snapshots;
  #ads: DiscoveryServer;
  #log: Logger;
  #policy: Policy | undefined;
  #lanes = new Map<string, Lane>();
  #links: ReadonlyMap<string, LinkState> = new Map();
  #states = new Map<string, HoldState>();
  #network = networkMessage(undefined);
  /** Destinations whose hosts were another's, with entries stored, in the policy before: held until the queue has said what it makes of the
   *  policy. */
  #taking = new Set<string>();
  /** Destinations that were held when the policy ceased to name them: sidecars drop a hold sooner than they drop the routes that it holds. */
  #gone = new Set<string>();
  #queues = new Set<(state: EdgeState) => void>();
  #inForce = new Map<string, number>();
  /** Told of each report, before anything is decided from it. */
  onLanes: (lanes: readonly Lane[]) => void = () => {};
  /** pid of the queue that reported last; 0 before the first. */
  queuePid = 0;
  /** The policy that the queue has put in force. */
  queuePolicy = '';

  constructor(snapshots: Snapshots, ads: DiscoveryServer, log: Logger) {
    this.#snapshots = snapshots;
    this.#ads = ads;
    this.#log = log;
  }

  get policy(): Policy | undefined {
    return this.#policy;
  }

  /** As the queue reported them last, those of destinations that the policy does not name too. */
  get lanes(): readonly Lane[] {
    return [...this.#lanes.values()];
  }

  get queueAttached(): boolean {
    return this.#queues.size > 0;
  }

  /** Errors: LAYBY_XDS_INVALID; the policy before stays in force. */
  setPolicy(policy: Policy): void {
    this.#snapshots.setPolicy(policy);
    for (const name of this.#takers(policy)) this.#taking.add(name);
    const named = new Set(policy.destinations.map(({ name }) => name));
    const held = [...this.#states].filter(([, state]) => state !== 'direct').map(([name]) => name);
    const waiting = [...this.#gone].filter((name) => this.#lanes.get(name)?.pending);
    this.#gone = new Set([...held, ...waiting].filter((name) => !named.has(name)));
    this.#policy = policy;
    this.#decide();
    this.#ads.push();
    this.#tell({
      policy: { version: policy.version, json: JSON.stringify(policy) },
      destinations: this.#destinations(),
    });
  }

  /** A queue that has not reported may have entries of any destination. */
  #takers(policy: Policy): string[] {
    const before = this.#policy;
    if (!before || before.version === policy.version) return [];
    const unknown = this.queuePid === 0;
    const stored = before.destinations.map(({ name }): [string, number] => {
      const lane = this.#lanes.get(name);
      return [name, lane ? storedIn(lane) + (lane.pending ? 1 : 0) : unknown ? 1 : 0];
    });
    return strandedBy(before, policy, new Map(stored)).flatMap(({ to }) => to);
  }

  setLinks(links: ReadonlyMap<string, LinkState>): void {
    this.#links = links;
    this.#decide();
    this.#tell({ destinations: this.#destinations() });
  }

  /** What kind of link the way out is; undefined: nobody knows. */
  setNetwork(network: Network | undefined): void {
    this.#network = networkMessage(network);
    this.#tell({ destinations: [], network: this.#network });
  }

  link(destination: string): LinkState {
    return this.#links.get(destination) ?? UNKNOWN_LINK;
  }

  /** A queue is there. Returns what takes its reports, and what ends the attachment. */
  attach(send: (state: EdgeState) => void): { report: (report: QueueReport) => void; detach: () => void } {
    this.#queues.add(send);
    // A new queue counts its generations anew.
    this.#inForce.clear();
    send({
      ...(this.#policy
        ? { policy: { version: this.#policy.version, json: JSON.stringify(this.#policy) } }
        : {}),
      network: this.#network,
      destinations: this.#destinations(),
    });
    let first = true;
    return {
      report: (report) => {
        // It names every lane: what an earlier queue said of others is over.
        if (first) this.#lanes.clear();
        if (first && report.policy_version === this.#policy?.version) this.#taking.clear();
        first = false;
        this.#report(report);
      },
      detach: () => this.#queues.delete(send),
    };
  }

  #report(report: QueueReport): void {
    this.queuePid = report.pid;
    this.queuePolicy = report.policy_version;
    for (const lane of report.lanes) this.#lanes.set(lane.destination, lane);
    // Without lanes: it has the policy, and has said all that follows from it.
    if (report.lanes.length === 0 && report.policy_version === this.#policy?.version) this.#taking.clear();
    this.onLanes(report.lanes);
    this.#decide();
    const waiting = report.lanes.filter((lane) => lane.pending);
    if (waiting.length > 0) void this.#confirm(waiting);
  }

  /** Tells the queue once the holds are in force on every sidecar: its receipts wait for that (law 3). */
  async #confirm(lanes: Lane[]): Promise<void> {
    if (!(await this.holdsInForce())) {
      this.#log.warn(
        { destinations: lanes.map((lane) => lane.destination) },
        'a sidecar does not confirm the hold',
      );
    }
    for (const lane of lanes) {
      this.#inForce.set(
        lane.destination,
        Math.max(lane.generation, this.#inForce.get(lane.destination) ?? 0),
      );
    }
    this.#tell({ destinations: this.#destinations(new Set(lanes.map((lane) => lane.destination))) });
  }

  /** Resolves when every sidecar has the holds that are decided, as far as it answers at all: false where one does not. */
  holdsInForce(): Promise<boolean> {
    return this.#ads.settled('runtime', HOLD_PATIENCE_MS);
  }

  #inputs(destination: Destination) {
    const lane = this.#lanes.get(destination.name);
    return {
      linkUp: !isHeld(this.link(destination.name)),
      pending: (lane?.pending ?? false) || this.#taking.has(destination.name),
      failing: lane?.failing ?? false,
    };
  }

  #decide(): void {
    const states = new Map<string, HoldState>();
    for (const destination of this.#policy?.destinations ?? []) {
      const state = holdState(destination, this.#inputs(destination));
      const before = this.#states.get(destination.name) ?? 'direct';
      states.set(destination.name, state);
      if (before !== state) {
        this.#log.info({ destination: destination.name, from: before, to: state }, 'hold');
      }
    }
    this.#states = states;
    const held = [...states].filter(([, state]) => state !== 'direct').map(([destination]) => destination);
    if (this.#snapshots.setHolds([...held, ...this.#gone])) this.#ads.push('runtime');
  }

  #destinations(only?: ReadonlySet<string>): EdgeState['destinations'] {
    return (this.#policy?.destinations ?? [])
      .filter(({ name }) => !only || only.has(name))
      .map(({ name }) => {
        const link = this.link(name);
        return {
          destination: name,
          link_up: link.state !== 'down',
          link_by: link.by,
          link_since: link.since,
          link_slow: link.state === 'slow',
          in_force: this.#inForce.get(name) ?? 0,
        };
      });
  }

  #tell(state: EdgeState): void {
    for (const send of this.#queues) send(state);
  }

  /** `lanes`: what the queue says right now; its last report where it does not answer. */
  status(lanes: readonly Lane[] = this.lanes): DestinationStatus[] {
    const byName = new Map(lanes.map((lane) => [lane.destination, lane]));
    return (this.#policy?.destinations ?? []).map((destination) => {
      const lane = byName.get(destination.name);
      const inputs = this.#inputs(destination);
      const state = holdState(destination, inputs);
      const link = this.link(destination.name);
      return {
        name: destination.name,
        hosts: destination.hosts,
        upstream: destination.upstream.url,
        hold: state !== 'direct',
        state,
        why: whyHeld(state, inputs, link.by),
        link,
        entries: lane?.entries ?? 0,
        bytes: lane?.bytes ?? 0,
        dead: lane?.dead ?? 0,
        quarantined: lane?.quarantined ?? 0,
        oldest: lane?.oldest ? new Date(lane.oldest).toISOString() : null,
      };
    });
  }
}
