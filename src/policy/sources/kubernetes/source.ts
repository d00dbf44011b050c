// Policy from a cluster: objects in, policy out, and back into each object what became of it. The API server may be away for as long as it
// likes: nothing is taken back until it says so itself.

import { LaybyError } from '../../../telemetry/error.ts';
import type { Destination, Policy } from '../../policy.ts';
import { kubeconfigAccess, podAccess } from './access.ts';
import { Api } from './api.ts';
import { PLURALS } from './names.ts';
import { type Finding, Objects, type PolicyObject, type Verdict, verdictText } from './objects.ts';
import { Reflector } from './reflector.ts';
import { type Standing, StatusWriter } from './status-writer.ts';

/** What `kubectl apply` of many documents sends in a row becomes one change: after so long without another, ms. */
const QUIET_MS = 30;
/** Under changes that never stop, ms: each costs every sidecar something. */
const LONGEST_WAIT_MS = 500;

export interface KubernetesOptions {
  /** Default: as a pod has it. */
  kubeconfig?: string | undefined;
  /** Default: all. */
  namespace?: string | undefined;
  /** What this control plane signs its word in the status with: the node it runs on. */
  node: string;
}

export interface KubernetesSourceOptions extends KubernetesOptions {
  /** What stays of objects that are wrong. */
  inForce: () => Policy | undefined;
  /** Why nothing can be made for Envoy of this destination; undefined: it can. */
  refusal: (destination: Destination) => string | undefined;
  /** As it is now, by the name of a destination or service. */
  standings: () => (name: string) => Standing;
  /** Called with each new policy. */
  onPolicy: (policy: Policy) => void;
  /** Wrong objects that were not wrong before, or otherwise. */
  onVerdict: (verdict: Verdict) => void;
  onProblem: (problem: LaybyError) => void;
}

export class KubernetesSource {
  readonly #options: KubernetesSourceOptions;
  readonly #api: Api;
  readonly #objects: Objects;
  readonly #reflectors: readonly Reflector[];
  readonly #writer: StatusWriter;
  readonly #problems = new Map<string, LaybyError>();
  #verdicts: readonly Verdict[] = [];
  #gathering: NodeJS.Timeout | undefined;
  /** The first change that is not judged yet, performance.now(). */
  #changedAt: number | undefined;
  /** By uid and generation, what was judged: status and nothing else changes much more often. */
  #judged: string | undefined;
  /** What was told of each wrong object, by uid. */
  #told = new Map<string, string>();

  constructor(options: KubernetesSourceOptions) {
    this.#options = options;
    const { kubeconfig, namespace, node, refusal, standings } = options;
    this.#api = new Api(() => (kubeconfig === undefined ? podAccess() : kubeconfigAccess(kubeconfig)));
    this.#objects = new Objects(refusal);
    this.#reflectors = Object.keys(PLURALS).map(
      (kind) =>
        new Reflector(this.#api, {
          kind,
          namespace,
          onChange: () => this.#changed(),
          onProblem: (problem) => this.#problem(kind, problem),
        }),
    );
    this.#writer = new StatusWriter({
      api: this.#api,
      node,
      verdicts: () => this.#verdicts,
      standings,
      current: (object) => this.#of(object.kind)?.get(object.metadata.namespace, object.metadata.name),
      path: (object) => this.#of(object.kind)?.statusPath(object) ?? '',
      onWritten: (answer, before) => this.#of(before.kind)?.put(answer, before),
      onProblem: options.onProblem,
    });
  }

  #of(kind: string): Reflector | undefined {
    return this.#reflectors.find((reflector) => reflector.kind === kind);
  }

  start(): void {
    for (const reflector of this.#reflectors) void reflector.run();
  }

  /** Why what is known may be old, or else which objects are not in force as they are. */
  get problem(): LaybyError | undefined {
    const [problem] = this.#problems.values();
    if (problem || this.refused.length === 0) return problem;
    return new LaybyError('LAYBY_POLICY_INVALID', this.refused.map(verdictText).join('\n'), {
      remedy: 'correct these objects; what was in force of them before stays in force',
    });
  }

  /** Objects that are not in force as they are. */
  get refused(): readonly Verdict[] {
    return this.#verdicts.filter(({ findings }) => findings.length > 0);
  }

  /** For metrics: lists and writes so far, and how it is now. */
  get counts(): Record<'lists' | 'writes' | 'refused' | 'away', number> {
    return {
      lists: this.#reflectors.reduce((sum, { lists }) => sum + lists, 0),
      writes: this.#writer.writes,
      refused: this.refused.length,
      away: this.#problems.size > 0 ? 1 : 0,
    };
  }

  /** A sidecar has answered, or has come or gone. */
  standingChanged(): void {
    this.#writer.soon();
  }

  #problem(kind: string, problem: LaybyError | undefined): void {
    const before = this.#problems.get(kind);
    if (!problem) this.#problems.delete(kind);
    else this.#problems.set(kind, problem);
    if (problem && before?.message !== problem.message) this.#options.onProblem(problem);
  }

  #changed(): void {
    const now = performance.now();
    this.#changedAt ??= now;
    clearTimeout(this.#gathering);
    const wait = Math.max(0, Math.min(QUIET_MS, this.#changedAt + LONGEST_WAIT_MS - now));
    this.#gathering = setTimeout(() => {
      this.#changedAt = undefined;
      this.#judge();
    }, wait);
  }

  #known(): PolicyObject[] {
    return this.#reflectors.flatMap(({ objects }) => [...objects]);
  }

  #judge(): void {
    // Half of it would be a policy without the other half.
    if (!this.#reflectors.every(({ synced }) => synced)) return;
    const objects = this.#known();
    const judged = objects.map(({ metadata }) => `${metadata.uid} ${metadata.generation}`).join('\n');
    if (judged !== this.#judged) {
      const { policy, verdicts } = this.#objects.judge(objects, this.#options.inForce());
      this.#judged = judged;
      this.#verdicts = verdicts;
      this.#tell();
      this.#options.onPolicy(policy);
    }
    this.#writer.soon();
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
    const others = this.#known().filter(
      ({ kind, metadata }) =>
        kind !== object.kind ||
        metadata.name !== object.metadata.name ||
        metadata.namespace !== object.metadata.namespace,
    );
    return this.#objects.review(object, others, this.#options.inForce());
  }

  async close(): Promise<void> {
    clearTimeout(this.#gathering);
    this.#writer.close();
    for (const reflector of this.#reflectors) reflector.close();
    await this.#api.close();
  }
}
