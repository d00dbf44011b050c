// Of the reports of all nodes, the status of the policy objects. Several processes follow the cluster; the one that holds the Lease writes.
// What an edit costs those who watch the objects does not grow with the number of nodes: reports that come in a row are one write.

import { setTimeout as sleep } from 'node:timers/promises';
import type { LaybyError } from '../../../telemetry/error.ts';
import type { Logger } from '../../../telemetry/log.ts';
import type { Destination, Policy } from '../../policy.ts';
import { MESH_KIND } from '../../schema/mesh.ts';
import { KIND } from '../../schema.ts';
import { type Api, KubernetesError } from './api.ts';
import { Events, regarding, transitions } from './events.ts';
import { Gathering } from './gathering.ts';
import { HeldNews, type HeldView, heldMessage } from './held-news.ts';
import { Lease } from './lease.ts';
import { GROUP, PLURALS, pathIn, pathOf, VERSION } from './names.ts';
import { type SigningView, signingViewOf } from './node-signer.ts';
import { type Finding, keyOf, Objects, others, type PolicyObject, policyObject, words } from './objects.ts';
import { Reflector } from './reflector.ts';
import { hasStatus } from './refusal.ts';
import { type HeldReport, type ObjectReport, REPORT_PLURAL } from './report.ts';
import { Rounds } from './rounds.ts';
import { differs, type NodeView, type Status, statusOf } from './status.ts';

/** Between two rounds, ms: so an object is written no more often. */
const ROUND_MS = 2_000;
/** Numbers alone are written no more often, ms. */
const NUMBERS_MS = 60_000;
/** At most so many writes each second. */
const WRITES_PER_S = 50;
/** After a status that was not taken, and at most after a server that did not answer, ms. */
const FAILED_MS = 15_000;

export interface AggregatorOptions {
  api: Api;
  /** Of the policy objects; default: all. */
  namespace?: string | undefined;
  /** Of the Reports and of the Lease. */
  reportNamespace: string;
  /** Of this process; no other has it. */
  identity: string;
  log: Logger;
  /** Why nothing can be made for Envoy of this destination; undefined: it can. */
  refusal?: (destination: Destination) => string | undefined;
  /** Default: `layby-cluster`. */
  leaseName?: string;
  /** s; default: 15. */
  leaseDuration?: number;
  /** A Report has come, gone or changed. */
  onReports?: () => void;
}

interface Watched extends PolicyObject {
  current: Status | undefined;
}

interface Heard {
  metadata: { namespace: string; name: string; resourceVersion: string };
  queue: boolean;
  /** There was no room for all objects. */
  partial: boolean;
  /** By uid. */
  objects: ReadonlyMap<string, ObjectReport>;
  held: HeldReport | undefined;
  /** Undefined: it asks for no certificate. */
  signing: SigningView | undefined;
}

interface ClusterNode {
  metadata: { namespace: string; name: string; resourceVersion: string };
  ready: boolean;
}

/** Where entries wait. */
export interface Waiting {
  node: string;
  entries: number;
}

const watchedOf = (kind: string, raw: unknown): Watched => ({
  ...policyObject(kind, raw),
  current: (raw as { status?: Status }).status,
});

const heardOf = (raw: unknown): Heard => {
  const {
    metadata,
    queue,
    objects = [],
    omitted = 0,
    held,
  } = raw as {
    metadata: Heard['metadata'];
    queue?: boolean;
    objects?: ObjectReport[];
    omitted?: number;
    held?: HeldReport;
  };
  const { namespace, name, resourceVersion } = metadata;
  return {
    metadata: { namespace, name, resourceVersion },
    queue: queue !== false,
    partial: omitted > 0,
    objects: new Map(objects.map((object) => [object.uid, object])),
    held,
    signing: signingViewOf(raw),
  };
};

const nodeOf = (raw: unknown): ClusterNode => {
  const { metadata, status } = raw as {
    metadata: { name: string; resourceVersion: string };
    status?: { conditions?: { type: string; status: string }[] };
  };
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return {
    metadata: { namespace: '', name: metadata.name, resourceVersion: metadata.resourceVersion },
    ready: ready?.status === 'True',
  };
};

const hostsOf = ({ spec }: PolicyObject): string[] => {
  const { hosts } = (spec ?? {}) as { hosts?: unknown };
  return Array.isArray(hosts) ? hosts.map(String) : [];
};

export class Aggregator {
  readonly #options: AggregatorOptions;
  readonly #objects: Objects;
  readonly #policies: readonly Reflector<Watched>[];
  readonly #reports: Reflector<Heard>;
  readonly #nodes: Reflector<ClusterNode>;
  readonly #lease: Lease;
  readonly #events: Events;
  readonly #gathering = new Gathering(() => this.#soon());
  readonly #rounds: Rounds;
  readonly #heldNews = new HeldNews();
  #closed = false;
  #inForce: Policy | undefined;
  /** By uid and generation. */
  #judged: string | undefined;
  #findings = new Map<string, string>();
  /** performance.now(), by uid. */
  #writtenAt = new Map<string, number>();
  readonly #problems = new Map<string, string>();
  /** Writes of a status that the server took. */
  writes = 0;

  constructor(options: AggregatorOptions) {
    this.#options = options;
    const { api, namespace, reportNamespace, identity, leaseName = 'layby-cluster', leaseDuration } = options;
    this.#objects = new Objects(options.refusal ?? (() => undefined));
    const { onReports = () => {} } = options;
    const follow = <Each extends Heard | ClusterNode | Watched>(
      what: string,
      path: string,
      lean: (raw: unknown) => Each,
      also: () => void = () => {},
    ) =>
      new Reflector<Each>(api, {
        ...{ path, lean },
        onChange: () => {
          this.#gathering.changed();
          also();
        },
        onProblem: (problem) => this.#problem(what, problem),
      });
    this.#policies = Object.keys(PLURALS).map((kind) =>
      follow(PLURALS[kind]!, pathOf(kind, namespace), (raw) => watchedOf(kind, raw)),
    );
    const reports = pathIn(`/apis/${GROUP}/${VERSION}`, reportNamespace, REPORT_PLURAL);
    this.#reports = follow(REPORT_PLURAL, reports, heardOf, onReports);
    this.#nodes = follow('nodes', '/api/v1/nodes', nodeOf);
    this.#lease = new Lease({
      ...{ api, identity, namespace: reportNamespace, name: leaseName },
      ...(leaseDuration !== undefined && { duration: leaseDuration }),
      onChange: (held) => {
        options.log.info({ lease: leaseName, held }, 'lease');
        if (!held) return;
        this.#soon();
        this.#rounds.wake();
      },
      onProblem: (problem) => this.#problem('lease', problem),
    });
    this.#rounds = new Rounds({
      ...{ run: () => this.#write(), every: ROUND_MS, longestPause: FAILED_MS },
      onProblem: (problem) => this.#problem('status', problem),
    });
    this.#events = new Events({
      ...{ api, instance: identity },
      onProblem: (problem) => this.#problem('events', problem),
    });
  }

  start(): void {
    for (const reflector of this.#reflectors) void reflector.run();
    this.#lease.start();
  }

  get #reflectors(): Pick<Reflector<Heard>, 'run' | 'close' | 'synced'>[] {
    return [...this.#policies, this.#reports, this.#nodes];
  }

  /** All has been read once. */
  get synced(): boolean {
    return this.#reflectors.every(({ synced }) => synced);
  }

  /** What nodes ask to be signed, by node. */
  get requests(): [node: string, view: SigningView][] {
    return [...this.#reports.objects].flatMap(({ metadata: { name }, signing }) =>
      signing ? [[name, signing]] : [],
    );
  }

  get leads(): boolean {
    return this.#lease.held;
  }

  #problem(what: string, problem: LaybyError | undefined): void {
    if (problem && this.#problems.get(what) !== problem.message)
      this.#options.log.warn({ err: problem, what }, 'the cluster cannot be read or written');
    if (problem) this.#problems.set(what, problem.message);
    else this.#problems.delete(what);
  }

  #known(): Watched[] {
    return this.#policies.flatMap(({ objects }) => [...objects]);
  }

  /** What the cluster part itself finds wrong. */
  #judge(objects: readonly Watched[]): void {
    const judged = objects.map(({ metadata }) => `${metadata.uid} ${metadata.generation}`).join('\n');
    if (judged === this.#judged) return;
    const { policy, verdicts } = this.#objects.judge(objects, this.#inForce);
    this.#judged = judged;
    this.#inForce = policy;
    this.#findings = new Map(
      verdicts.flatMap(({ object, findings }) =>
        findings.length > 0 ? [[object.metadata.uid, words(findings)]] : [],
      ),
    );
  }

  #soon(): void {
    // Without the definition of a kind its list never comes; what nodes hold is told then too.
    if (!this.#reports.synced) return;
    if (this.synced) this.#judge(this.#known());
    this.#rounds.soon();
  }

  #viewsOf({ metadata: { uid } }: PolicyObject, away: ReadonlySet<string>): NodeView[] {
    return [...this.#reports.objects].flatMap(({ metadata: { name: node }, queue, partial, objects }) => {
      const report = objects.get(uid);
      // Whether a report without room for all has seen it is not known.
      if (!report && partial) return [];
      return [{ node, queue, away: away.has(node), ...(report && { report }) }];
    });
  }

  get #held(): HeldView[] {
    return [...this.#reports.objects].flatMap(({ metadata: { name: node }, held }) =>
      held ? [{ node, kinds: held.kinds }] : [],
    );
  }

  /** Where no object of kind Mesh is left, in the namespace `default`, as the API has it of a Namespace: there `kubectl get events` looks. */
  async #tellHeld(): Promise<void> {
    const held = this.#held;
    const now = performance.now();
    const dueAt = this.#heldNews.dueAt(held, now);
    if (dueAt === undefined) return;
    if (dueAt > now) return this.#rounds.at(dueAt);
    const mesh = this.#known().find(({ kind }) => kind === MESH_KIND);
    await this.#events.send(
      mesh ? regarding(mesh) : { apiVersion: 'v1', kind: 'Namespace', name: this.#options.reportNamespace },
      { reason: 'DeletionsHeld', note: heldMessage(held) ?? '' },
    );
    this.#heldNews.told(held, now);
    this.#rounds.at(this.#heldNews.dueAt(held, now) ?? now);
  }

  async #write(): Promise<void> {
    if (!this.leads) return;
    await this.#tellHeld();
    if (!this.synced) return;
    const held = heldMessage(this.#held);
    const objects = this.#known();
    const uids = new Set(objects.map(({ metadata }) => metadata.uid));
    for (const uid of this.#writtenAt.keys()) if (!uids.has(uid)) this.#writtenAt.delete(uid);
    const away = new Set(
      [...this.#nodes.objects].flatMap(({ ready, metadata }) => (ready ? [] : [metadata.name])),
    );
    for (const object of objects) {
      if (this.#closed || !this.leads) return;
      try {
        await this.#writeOne(object, away, object.kind === MESH_KIND ? held : undefined);
      } catch (error) {
        // The others may be taken; where nobody answers, they are not asked for.
        if (!(error instanceof KubernetesError) || error.status === 0) throw error;
        this.#problem(`status of ${keyOf(object)}`, error);
        this.#rounds.at(performance.now() + FAILED_MS);
      }
    }
    this.#problem('status', undefined);
  }

  async #writeOne(object: Watched, away: ReadonlySet<string>, held: string | undefined): Promise<void> {
    const { kind, metadata, current: before } = object;
    const { uid, generation, name, namespace, resourceVersion } = metadata;
    const now = performance.now();
    const findings = this.#findings.get(uid);
    const status = statusOf(
      {
        generation,
        queued: kind === KIND,
        hosts: hostsOf(object),
        ...(findings !== undefined && { findings }),
        ...(held !== undefined && { held }),
      },
      this.#viewsOf(object, away),
      before,
      new Date().toISOString(),
    );
    const difference = differs(before, status);
    if (difference === 'no') return;
    const writtenAt = this.#writtenAt.get(uid) ?? Number.NEGATIVE_INFINITY;
    if (difference === 'in numbers' && now - writtenAt < NUMBERS_MS)
      return this.#rounds.at(writtenAt + NUMBERS_MS);
    try {
      await this.#options.api.patch(`${pathOf(kind, namespace)}/${encodeURIComponent(name)}/status`, {
        metadata: { resourceVersion },
        status,
      });
    } catch (error) {
      // Somebody has changed it, or it is gone: the watch brings it, and with it the next round.
      if (hasStatus(error, 404, 409)) return;
      throw error;
    }
    this.#problem(`status of ${keyOf(object)}`, undefined);
    this.#writtenAt.set(uid, now);
    this.writes += 1;
    for (const transition of transitions(before, status))
      await this.#events.send(regarding(object), transition);
    await sleep(1_000 / WRITES_PER_S);
  }

  /** What would be wrong with an object if it came to be like this. Errors: LAYBY_KUBERNETES_AWAY before `synced`. */
  review(object: PolicyObject): readonly Finding[] {
    this.#mustBeSynced();
    return this.#objects.review(object, others(this.#known(), object), this.#inForce);
  }

  /** The policy now, and with the object as it is here, or (`there` false) without it. Errors: as `review`. */
  policies(object: PolicyObject, there: boolean): { before: Policy; after: Policy } {
    this.#mustBeSynced();
    this.#judge(this.#known());
    const before = this.#inForce!;
    return {
      before,
      after: this.#objects.policyWith(there ? object : undefined, others(this.#known(), object), before),
    };
  }

  /** By destination: the nodes on which entries wait for it, most first. */
  waiting(): ReadonlyMap<string, readonly Waiting[]> {
    const waiting = new Map<string, Waiting[]>();
    for (const { metadata, objects } of this.#reports.objects)
      for (const { kind, name, entries = 0 } of objects.values()) {
        if (kind !== KIND || entries === 0) continue;
        waiting.set(name, [...(waiting.get(name) ?? []), { node: metadata.name, entries }]);
      }
    for (const nodes of waiting.values()) nodes.sort((a, b) => b.entries - a.entries);
    return waiting;
  }

  #mustBeSynced(): void {
    if (!this.synced)
      throw new KubernetesError(0, 'the policy objects are not read yet', {
        remedy: 'try again in some seconds',
      });
  }

  /** Gives the Lease up. `release` false: leaves it as a process that was killed does. The `api` is the caller's to close, afterwards. */
  async close(options: { release?: boolean } = {}): Promise<void> {
    this.#closed = true;
    this.#gathering.close();
    for (const reflector of this.#reflectors) reflector.close();
    await this.#rounds.close();
    await this.#lease.close(options);
  }
}
