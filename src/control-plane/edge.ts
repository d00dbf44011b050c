// Where the three inputs of a destination meet: its policy, its link, and its lane at the queue. Out of them come the holds
// (to the sidecars) and what the queue must know (policy, link, which holds are in force).

import type { Network } from '../link/network.ts';
import { isHeld, isStopped, type LinkState } from '../link/state.ts';
import type { Destination, Policy } from '../policy/policy.ts';
import { strandedBy } from '../policy/stranded.ts';
import type { Logger } from '../telemetry/log.ts';
import {
  type EdgeState,
  type Lane,
  type NetworkMessage,
  type QueueReport,
  storedIn,
} from '../wire/edge-service.ts';
import { type HoldInputs, type HoldState, holdState, whyHeld } from './hold.ts';
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

/** `kind: ''`: it cannot be known. */
export const networkMessage = (network: Network | undefined): NetworkMessage => ({
  kind: network?.kind ?? '',
  interface: network?.interface ?? '',
  metered: network?.metered ?? false,
  roaming: network?.roaming ?? false,
});

const UNKNOWN_LINK: LinkState = { state: 'up', by: 'default', since: 0 };

/** The stream of one queue. What was confirmed for it counts for it alone: each queue counts its generations from 1. */
interface Attachment {
  /** Grows: the newest that has reported is the queue; reports of older ones are not heard any more. */
  number: number;
  send: (state: EdgeState) => void;
  /** The newest generation of each lane whose hold is in force on every sidecar. */
  inForce: Map<string, number>;
}

/** Takes policy and holds for the sidecars. */
type HoldSink = Pick<Snapshots, 'setPolicy' | 'setHolds'>;
/** Brings them to the sidecars. */
type Sidecars = Pick<DiscoveryServer, 'push' | 'settled'>;

/** The lanes that may have entries, from the disk; undefined: it does not tell. */
export type RememberedLanes = ReadonlySet<string> | undefined;

const namesOf = (lanes: readonly Lane[]): ReadonlySet<string> =>
  new Set(lanes.map(({ destination }) => destination));

const sameSet = (one: ReadonlySet<string>, other: ReadonlySet<string>): boolean =>
  one.size === other.size && [...one].every((name) => other.has(name));

export class Edge {
  #snapshots: HoldSink;
  #ads: Sidecars;
  #log: Logger;
  #policy: Policy | undefined;
  /** As the queue last reported them. */
  #lanes = new Map<string, Lane>();
  #remembered: RememberedLanes;
  #links: ReadonlyMap<string, LinkState> = new Map();
  #states = new Map<string, HoldState>();
  /** undefined: not known yet. */
  #network: NetworkMessage | undefined;
  #attachments = new Set<Attachment>();
  #attached = 0;
  /** The number of the attachment that reported last. */
  #reporter = 0;
  /** Resolves when every sidecar that lives has had the time to come back after a restart of the control plane. */
  sidecarsBack: () => Promise<void> = async () => {};
  /** Destinations whose hosts were another's, with entries stored, in the policy before: held until the queue has said what it makes of the
   *  policy. */
  #taking = new Set<string>();
  /** Destinations that were held when the policy ceased to name them: sidecars drop a hold sooner than they drop the routes that it holds. */
  #gone = new Set<string>();
  /** Told of each report, before anything is decided from it. */
  onLanes: (lanes: readonly Lane[]) => void = () => {};
  /** The links of a policy's destinations, asked before anything is decided from the policy. */
  linksOf: (policy: Policy) => ReadonlyMap<string, LinkState> = () => this.#links;
  /** Called after each report, and when a queue has gone. */
  onQueue: () => void = () => {};
  /** Told of all lanes when a queue has reported for the first time. */
  onReporter: (lanes: readonly Lane[]) => void = () => {};
  /** pid of the queue that reported last; 0 before the first. */
  queuePid = 0;
  /** The policy that the queue has put in force. */
  queuePolicy = '';

  constructor(snapshots: HoldSink, ads: Sidecars, log: Logger) {
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
    return this.#attachments.size > 0;
  }

  /** A queue has reported its lanes since the control plane was started. */
  get queueReported(): boolean {
    return this.#reporter > 0;
  }

  /** The queue that is attached has reported. */
  get queueReports(): boolean {
    return [...this.#attachments].some(({ number }) => number === this.#reporter);
  }

  /** What the queue left on the disk. It counts while no queue is there that reports. */
  setRemembered(lanes: RememberedLanes): void {
    const before = this.#remembered;
    if (before === lanes || (before && lanes && sameSet(before, lanes))) return;
    this.#remembered = lanes;
    this.#decide();
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
    this.#links = this.linksOf(policy);
    this.#decide();
    this.#ads.push();
    this.#tell(() => ({
      policy: { version: policy.version, json: JSON.stringify(policy) },
    }));
  }

  /** A queue that has not reported may have entries of any destination. */
  #takers(policy: Policy): string[] {
    const before = this.#policy;
    if (!before || before.version === policy.version) return [];
    const remembered = this.queueReported ? new Set<string>() : this.#remembered;
    const stored = before.destinations.map(({ name }): [string, number] => {
      const lane = this.#lanes.get(name);
      return [name, lane ? storedIn(lane) + (lane.pending ? 1 : 0) : (remembered?.has(name) ?? true) ? 1 : 0];
    });
    return strandedBy(before, policy, new Map(stored)).flatMap(({ to }) => to);
  }

  setLinks(links: ReadonlyMap<string, LinkState>): void {
    this.#links = links;
    this.#decide();
    this.#tell();
  }

  /** What kind of link the way out is; undefined: it cannot be known. */
  setNetwork(network: Network | undefined): void {
    const message = networkMessage(network);
    this.#network = message;
    for (const { send } of this.#attachments) send({ destinations: [], network: message });
  }

  link(destination: string): LinkState {
    return this.#links.get(destination) ?? UNKNOWN_LINK;
  }

  /** A queue is there. Returns what takes its reports, and what ends the attachment. */
  attach(send: (state: EdgeState) => void): { report: (report: QueueReport) => void; detach: () => void } {
    this.#attached += 1;
    const attachment: Attachment = { number: this.#attached, send, inForce: new Map() };
    this.#attachments.add(attachment);
    send({
      ...(this.#policy
        ? { policy: { version: this.#policy.version, json: JSON.stringify(this.#policy) } }
        : {}),
      ...(this.#network && { network: this.#network }),
      destinations: this.#destinations(attachment),
    });
    return {
      report: (report) => this.#report(attachment, report),
      detach: () => {
        this.#attachments.delete(attachment);
        this.onQueue();
      },
    };
  }

  #report(attachment: Attachment, report: QueueReport): void {
    if (attachment.number < this.#reporter || !this.#attachments.has(attachment)) return;
    const first = attachment.number > this.#reporter;
    if (first) {
      // It names every lane: what an earlier queue said of others is over, and so is what the disk told.
      this.#lanes.clear();
      this.#remembered = undefined;
      this.#reporter = attachment.number;
      this.onReporter(report.lanes);
      if (report.policy_version === this.#policy?.version) this.#taking.clear();
    }
    this.queuePid = report.pid;
    this.queuePolicy = report.policy_version;
    for (const lane of report.lanes) this.#lanes.set(lane.destination, lane);
    // Without lanes: it has the policy, and has said all that follows from it.
    if (report.lanes.length === 0 && report.policy_version === this.#policy?.version) this.#taking.clear();
    this.onLanes(report.lanes);
    this.#decide();
    this.onQueue();
    const waiting = report.lanes.filter((lane) => lane.pending);
    if (waiting.length === 0) return;
    // An immediate answer tells a control plane that waits for a sidecar from one that hangs.
    attachment.send({ destinations: this.#destinations(attachment, namesOf(waiting)) });
    void this.#confirm(attachment, waiting);
  }

  /** Tells the queue once the holds are in force on every sidecar: its receipts wait for that (law 3). */
  async #confirm(attachment: Attachment, lanes: Lane[]): Promise<void> {
    if (!(await this.holdsInForce())) {
      this.#log.warn(
        { destinations: lanes.map((lane) => lane.destination) },
        'a sidecar does not confirm the hold',
      );
    }
    // Meanwhile it may have gone, or another one may have taken its place.
    if (!this.#attachments.has(attachment) || attachment.number !== this.#reporter) return;
    const { inForce, send } = attachment;
    for (const { destination, generation } of lanes) {
      inForce.set(destination, Math.max(generation, inForce.get(destination) ?? 0));
    }
    send({ destinations: this.#destinations(attachment, namesOf(lanes)) });
  }

  /** Resolves when every sidecar has the holds that are decided, as far as it answers at all: false where one does not. */
  async holdsInForce(): Promise<boolean> {
    await this.sidecarsBack();
    return this.#ads.settled('runtime', HOLD_PATIENCE_MS);
  }

  #inputs({ name }: Destination): HoldInputs {
    const lane = this.#lanes.get(name);
    const link = this.link(name);
    const known = { linkUp: !isHeld(link), stopped: isStopped(link), failing: lane?.failing ?? false };
    const pending = (lane?.pending ?? false) || this.#taking.has(name);
    if (this.queueReports) return { ...known, pending, lane: 'reported' };
    // What is not known must not count as empty. A queue that reported and is away may have stored something since.
    const remembered = this.#remembered;
    if (!this.queueReported && !remembered) return { ...known, pending: true, lane: 'unknown' };
    return { ...known, pending: pending || (remembered?.has(name) ?? false), lane: 'remembered' };
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
    const stopped = [...states.keys()].filter((name) => isStopped(this.link(name)));
    if (this.#snapshots.setHolds([...held, ...this.#gone], stopped)) this.#ads.push('runtime');
  }

  #destinations({ inForce }: Attachment, only?: ReadonlySet<string>): EdgeState['destinations'] {
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
          in_force: inForce.get(name) ?? 0,
        };
      });
  }

  #tell(more: () => Partial<EdgeState> = () => ({})): void {
    for (const attachment of this.#attachments)
      attachment.send({ ...more(), destinations: this.#destinations(attachment) });
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
        why: whyHeld(state, inputs, link.by, destination),
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
