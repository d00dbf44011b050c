// Writes what became of the objects into their status. Several control planes do, each its own word, with the version that it has read: who
// was slower reads what the other has written and says its word again (status.ts has what). Its own writes come back as events, and
// then there is nothing left to say.

import { setTimeout as sleep } from 'node:timers/promises';
import type { LaybyError } from '../../../telemetry/error.ts';
import { type Api, KubernetesError } from './api.ts';
import { pathOf } from './names.ts';
import { type PolicyObject, type Verdict, words } from './objects.ts';
import { differs, type NodeReport, statusWith } from './status.ts';

/** After the last thing that happened, ms: what follows in the next moments is told with it. */
const QUIET_MS = 200;
/** Between two rounds, ms. */
const ROUND_MS = 1_000;
/** Numbers of sidecars alone are written no more often, ms: they change with every pod, in every object. */
const NUMBERS_MS = 60_000;
/** At most so many writes each second: the API server has other work. */
const WRITES_PER_S = 50;
/** After a failure, ms. */
const FAILED_MS = 15_000;

/** What the sidecars have of a destination or service. */
export type Standing = Pick<NodeReport, 'sidecars' | 'programmed' | 'nack' | 'unresolved'>;

export interface StatusWriterOptions {
  api: Api;
  /** Of this control plane. */
  node: string;
  verdicts: () => readonly Verdict[];
  standings: () => (name: string) => Standing;
  /** As it is known by now; undefined: it is gone. */
  current: (object: PolicyObject) => PolicyObject | undefined;
  onWritten: (answer: unknown, before: PolicyObject) => void;
  onProblem: (problem: LaybyError) => void;
}

const statusPath = ({ kind, metadata: { namespace, name } }: PolicyObject): string =>
  `${pathOf(kind, namespace)}/${name}/status`;

export class StatusWriter {
  readonly #options: StatusWriterOptions;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #endedAt = Number.NEGATIVE_INFINITY;
  #writing = false;
  #closed = false;
  /** performance.now(), by uid. */
  #writtenAt = new Map<string, number>();
  /** Writes that the server took. */
  writes = 0;

  constructor(options: StatusWriterOptions) {
    this.#options = options;
  }

  /** Something may have changed. */
  soon(): void {
    this.#at(Math.max(performance.now() + QUIET_MS, this.#endedAt + ROUND_MS));
  }

  #at(time: number): void {
    if (this.#closed || time >= this.#dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = time;
    this.#timer = setTimeout(() => void this.#round(), Math.max(1, time - performance.now())).unref();
  }

  async #round(): Promise<void> {
    this.#dueAt = Number.POSITIVE_INFINITY;
    if (this.#writing) return this.soon();
    this.#writing = true;
    try {
      const verdicts = this.#options.verdicts();
      const standing = this.#options.standings();
      const uids = new Set(verdicts.map(({ object }) => object.metadata.uid));
      for (const uid of this.#writtenAt.keys()) if (!uids.has(uid)) this.#writtenAt.delete(uid);
      for (const verdict of verdicts) {
        if (this.#closed) return;
        await this.#write(verdict, standing);
      }
    } catch (error) {
      this.#options.onProblem(error as LaybyError);
      this.#at(performance.now() + FAILED_MS);
    } finally {
      this.#writing = false;
      this.#endedAt = performance.now();
    }
  }

  async #write({ object, findings }: Verdict, standing: (name: string) => Standing): Promise<void> {
    const { node, current, onWritten, api } = this.#options;
    const now = performance.now();
    const { uid, generation, name } = object.metadata;
    const known = current(object);
    // It is judged again before anything is said of what it is now.
    if (known?.metadata.uid !== uid || known.metadata.generation !== generation) return;
    const accepted = findings.length === 0;
    const status = statusWith(
      known.status,
      {
        node,
        observedGeneration: generation,
        accepted,
        ...(!accepted && { message: words(findings) }),
        ...standing(name),
      },
      new Date().toISOString(),
    );
    const difference = differs(known.status, status);
    if (difference === 'no') return;
    const writtenAt = this.#writtenAt.get(uid) ?? Number.NEGATIVE_INFINITY;
    if (difference === 'in numbers' && now - writtenAt < NUMBERS_MS) return this.#at(writtenAt + NUMBERS_MS);
    try {
      const { resourceVersion } = known.metadata;
      const answer = await api.patch(statusPath(known), { metadata: { resourceVersion }, status });
      this.#writtenAt.set(uid, now);
      this.writes += 1;
      onWritten(answer, known);
      await sleep(1000 / WRITES_PER_S);
    } catch (error) {
      // Somebody else was quicker, or it is gone: the watch brings it, and with it the next round.
      if (error instanceof KubernetesError && (error.status === 409 || error.status === 404)) return;
      throw error;
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }
}
