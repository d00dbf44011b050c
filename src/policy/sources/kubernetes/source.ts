// Policy from a cluster: objects in, policy out, and back into the cluster a report of what became of them. The API server may be away for as long as it
// likes: nothing is taken back until it says so itself.

import type { NodeAuthority } from '../../../identity/node-authority.ts';
import { LaybyError } from '../../../telemetry/error.ts';
import type { Logger } from '../../../telemetry/log.ts';
import type { Destination, Policy } from '../../policy.ts';
import { kubeconfigAccess, podAccess, podNamespace } from './access.ts';
import { Api } from './api.ts';
import { acceptsDeletions, Deletions } from './deletions.ts';
import { Endpoints } from './endpoints.ts';
import { Gathering } from './gathering.ts';
import { PLURALS, pathOf } from './names.ts';
import {
  type Finding,
  Objects,
  others,
  type PolicyObject,
  policyObject,
  type Verdict,
  verdictText,
} from './objects.ts';
import { Reflector } from './reflector.ts';
import { type Backlog, ReportWriter, type Standing } from './report-writer.ts';
import { SignedIdentity } from './signed-identity.ts';

export interface KubernetesOptions {
  /** Default: as a pod has it. */
  kubeconfig?: string | undefined;
  /** Default: all. */
  namespace?: string | undefined;
  /** The node it runs on, after which its report is called. */
  node: string;
  /** Of its report; default: the pod's own, or else `default`. */
  reportNamespace?: string | undefined;
  /** Of this node, for which the cluster part signs; default: none is asked for. */
  authority?: (() => Promise<NodeAuthority>) | undefined;
  /** Between two looks for what was signed, ms; default five minutes. */
  authorityLook?: number | undefined;
}

export interface KubernetesSourceOptions extends KubernetesOptions {
  /** What stays of objects that are wrong. */
  inForce: () => Policy | undefined;
  /** Why nothing can be made for Envoy of this destination; undefined: it can. */
  refusal: (destination: Destination) => string | undefined;
  /** As it is now, by the name of a destination or service. */
  standings: () => (name: string) => Standing;
  /** What the queue has stored; undefined: not known yet. */
  backlog: () => Backlog | undefined;
  queueAnswers: () => boolean;
  /** Called with each new policy. */
  onPolicy: (policy: Policy) => void;
  /** Wrong objects that were not wrong before, or otherwise. */
  onVerdict: (verdict: Verdict) => void;
  onProblem: (problem: LaybyError) => void;
  /** The endpoints of a Service that the policy names have changed. */
  onEndpoints: () => void;
  /** What must outlive a restart is kept here. */
  dir: string;
  log: Logger;
}

export class KubernetesSource {
  readonly #options: KubernetesSourceOptions;
  readonly #api: Api;
  readonly #objects: Objects;
  /** By kind. */
  readonly #reflectors: ReadonlyMap<string, Reflector<PolicyObject>>;
  readonly #writer: ReportWriter;
  /** Of the Services of the cluster that the policy names. */
  readonly endpoints: Endpoints;
  readonly #deletions: Deletions;
  readonly #identity: SignedIdentity | undefined;
  readonly #problems = new Map<string, LaybyError>();
  #verdicts: readonly Verdict[] = [];
  /** What `kubectl apply` of many documents sends in a row becomes one change. */
  readonly #gathering = new Gathering(() => this.#judge());
  /** By uid and generation, what was judged: the status alone changes much more often. */
  #judged: string | undefined;
  /** What was told of each wrong object, by uid. */
  #told = new Map<string, string>();

  constructor(options: KubernetesSourceOptions) {
    this.#options = options;
    const { kubeconfig, namespace, node, reportNamespace, refusal, dir, log } = options;
    this.#api = new Api(() => (kubeconfig === undefined ? podAccess() : kubeconfigAccess(kubeconfig)));
    this.#objects = new Objects(refusal);
    this.#deletions = new Deletions({ dir, inForce: options.inForce, onDue: () => this.#judge(), log });
    this.#reflectors = new Map(
      Object.keys(PLURALS).map((kind) => [
        kind,
        new Reflector(this.#api, {
          path: pathOf(kind, namespace),
          lean: (raw) => policyObject(kind, raw),
          onChange: () => this.#gathering.changed(),
          onProblem: (problem) => this.#problem(kind, problem),
        }),
      ]),
    );
    const ownNamespace = async () => reportNamespace ?? (await podNamespace()) ?? 'default';
    const { authority } = options;
    this.#identity =
      authority &&
      new SignedIdentity({
        ...{ api: this.#api, node, namespace: ownNamespace, authority, log },
        look: options.authorityLook,
        onProblem: (problem) => this.#problem('identity', problem),
      });
    this.#writer = new ReportWriter({
      api: this.#api,
      node,
      namespace: ownNamespace,
      // Without one it goes on with what it has; who issues certificates tells why.
      ...(authority && {
        certificateRequest: () =>
          authority().then(
            ({ request }) => request,
            () => undefined,
          ),
      }),
      // A report of half of them would look as if the others were not seen here.
      verdicts: () => (this.#judged === undefined ? undefined : this.#verdicts),
      standings: options.standings,
      backlog: options.backlog,
      queueAnswers: options.queueAnswers,
      held: () => this.#deletions.held,
      onProblem: options.onProblem,
    });
    this.endpoints = new Endpoints({
      ...{ api: this.#api, namespace, node, dir, log },
      onChange: () => {
        options.onEndpoints();
        this.#writer.soon();
      },
      onProblem: (of, problem) => this.#problem(of, problem),
    });
  }

  start(): void {
    for (const reflector of this.#reflectors.values()) void reflector.run();
    void this.#identity?.run();
  }

  /** What is held though it is deleted, or else why what is known may be old, or else which objects are not in force as they are. */
  get problem(): LaybyError | undefined {
    const [problem] = [this.#deletions.problem, ...this.#problems.values()].filter((each) => each);
    if (problem || this.refused.length === 0) return problem;
    return new LaybyError('LAYBY_POLICY_INVALID', this.refused.map(verdictText).join('\n'), {
      remedy: 'correct these objects; what was in force of them before stays in force',
    });
  }

  /** The API server may be there again. */
  wake(): void {
    for (const reflector of this.#reflectors.values()) reflector.wake();
    this.endpoints.wake();
    this.#writer.wake();
    this.#identity?.wake();
  }

  /** Objects that are not in force as they are. */
  get refused(): readonly Verdict[] {
    return this.#verdicts.filter(({ findings }) => findings.length > 0);
  }

  /** For metrics: lists, writes and received bytes so far, and how it is now. */
  get counts(): Record<'lists' | 'writes' | 'received' | 'refused' | 'away' | 'held', number> {
    return {
      lists: [...this.#reflectors.values()].reduce((sum, { lists }) => sum + lists, 0),
      writes: this.#writer.writes,
      received: this.#api.received,
      refused: this.refused.length,
      away: [...this.#problems.keys()].some((what) => what !== 'identity') ? 1 : 0,
      held: this.#deletions.held.length,
    };
  }

  /** A sidecar has answered, or has come or gone; or the queue has. */
  standingChanged(): void {
    this.#writer.soon();
  }

  #problem(kind: string, problem: LaybyError | undefined): void {
    const before = this.#problems.get(kind);
    if (!problem) this.#problems.delete(kind);
    else this.#problems.set(kind, problem);
    if (problem && before?.message !== problem.message) this.#options.onProblem(problem);
  }

  #known(): PolicyObject[] {
    return [...this.#reflectors.values()].flatMap(({ objects }) => [...objects]);
  }

  #judge(): void {
    // Half of it would be a policy without the other half.
    if (![...this.#reflectors.values()].every(({ synced }) => synced)) return;
    const objects = this.#known();
    const judged = [
      acceptsDeletions(objects),
      ...objects.map(({ metadata }) => `${metadata.uid} ${metadata.generation}`),
    ].join('\n');
    if (judged !== this.#judged || this.#deletions.due) {
      const { policy, verdicts } = this.#objects.judge(objects, this.#options.inForce());
      this.#judged = judged;
      this.#verdicts = verdicts;
      this.#tell();
      this.#options.onPolicy(this.#deletions.guard(policy, objects));
    }
    this.#writer.soon();
  }

  /** The operator means what was deleted: returns the keys of it. Errors: LAYBY_POLICY_NOTHING_HELD, LAYBY_KUBERNETES_AWAY. */
  acceptDeletions(): string[] {
    return this.#deletions.accept();
  }

  #tell(): void {
    const told = new Map<string, string>();
    for (const verdict of this.refused) {
      const { uid } = verdict.object.metadata;
      const text = JSON.stringify(verdict.findings);
      told.set(uid, text);
      if (this.#told.get(uid) !== text) this.#options.onVerdict(verdict);
    }
    this.#told = told;
  }

  /** What would be wrong with an object if it came to be like this: by itself, and beside the others. */
  review(object: PolicyObject): readonly Finding[] {
    return this.#objects.review(object, others(this.#known(), object), this.#options.inForce());
  }

  /** The policy that there would be with an object as it is here, or (`there` false) without it. */
  policyWith(object: PolicyObject, there: boolean): Policy {
    return this.#objects.policyWith(
      there ? object : undefined,
      others(this.#known(), object),
      this.#options.inForce(),
    );
  }

  async close(): Promise<void> {
    this.#gathering.close();
    this.#writer.close();
    await this.#identity?.close();
    for (const reflector of this.#reflectors.values()) reflector.close();
    await this.#deletions.close();
    await this.endpoints.close();
    await this.#api.close();
  }
}
