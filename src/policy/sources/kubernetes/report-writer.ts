// Keeps the report of this node up to date in its cluster (report.ts has what it says). It is written when something but numbers has changed;
// numbers alone are written now and then. The control planes of a fleet do not read each other's: one edit costs each of them its own write.

import { laybyVersion } from '../../../platform/layby-version.ts';
import { timerMs } from '../../../platform/timer.ts';
import type { LaybyError } from '../../../telemetry/error.ts';
import { type Api, KubernetesError } from './api.ts';
import {
  type Backlog,
  buildReport,
  changeOf,
  managerOf,
  type ReportContent,
  type Standing,
} from './build-report.ts';
import { GROUP, pathIn, VERSION } from './names.ts';
import type { Verdict } from './objects.ts';
import { orNone, problemOf } from './refusal.ts';
import { REPORT_KIND, REPORT_PLURAL } from './report.ts';

export type { Backlog, Standing } from './build-report.ts';

/** After the last event, ms: what follows in the next moments is written with it. */
const QUIET_MS = 200;
/** Between two rounds, ms. */
const ROUND_MS = 1_000;
/** Numbers alone are written no more often, ms. */
const NUMBERS_MS = 60_000;
/** Somebody may have deleted the report: it is looked for this often, ms. */
const LOOK_MS = 600_000;
/** Pauses after failures, ms. */
const SHORTEST_PAUSE_MS = 2_000;
const LONGEST_PAUSE_MS = 60_000;
/** After the network of the node has changed; not all of a fleet at once, ms. */
const WAKING_MS = 1_000;

export interface ReportWriterOptions {
  api: Api;
  /** The report is called so. */
  node: string;
  namespace: () => Promise<string>;
  /** Undefined: nothing has been judged yet, and nothing is written. */
  verdicts: () => readonly Verdict[] | undefined;
  standings: () => (name: string) => Standing;
  backlog: () => Backlog | undefined;
  queueAnswers: () => boolean;
  /** Tried again by itself. */
  onProblem: (problem: LaybyError) => void;
  /** ms; default: a minute. */
  numbersEvery?: number;
  /** ms; default: ten minutes. */
  lookEvery?: number;
}

interface Owner {
  apiVersion: 'v1';
  kind: 'Node';
  name: string;
  uid: string;
}

/** The server answers a write with all that was written: here it need not. */
interface Answer {
  metadata: { uid: string };
}

export class ReportWriter {
  readonly #options: ReportWriterOptions;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #endedAt = Number.NEGATIVE_INFINITY;
  /** Not before, after a failure. */
  #pausedUntil = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #problem: string | undefined;
  #writing = false;
  #closed = false;
  #path: string | undefined;
  /** Undefined: not asked yet. */
  #owners: Owner[] | undefined;
  /** Of the report in the cluster. */
  #uid: string | undefined;
  #written: ReportContent | undefined;
  /** performance.now() */
  #writtenAt = Number.NEGATIVE_INFINITY;
  #lookedAt = performance.now();
  /** Writes that the server took. */
  writes = 0;

  constructor(options: ReportWriterOptions) {
    this.#options = options;
  }

  /** Something may have changed. */
  soon(): void {
    this.#at(performance.now() + QUIET_MS);
  }

  /** The API server may be there again: a pause ends. */
  wake(): void {
    if (this.#failures === 0) return;
    this.#pausedUntil = Number.NEGATIVE_INFINITY;
    this.#at(performance.now() + QUIET_MS + Math.random() * WAKING_MS);
  }

  #at(wanted: number): void {
    const time = Math.max(wanted, this.#endedAt + ROUND_MS, this.#pausedUntil);
    if (this.#closed || time >= this.#dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = time;
    this.#timer = setTimeout(
      () => void this.#round(),
      timerMs(Math.max(1, time - performance.now())),
    ).unref();
  }

  async #round(): Promise<void> {
    this.#dueAt = Number.POSITIVE_INFINITY;
    if (this.#writing) return this.soon();
    this.#writing = true;
    try {
      await this.#look();
      await this.#write();
      this.#failures = 0;
      this.#problem = undefined;
      this.#pausedUntil = Number.NEGATIVE_INFINITY;
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#writing = false;
      this.#endedAt = performance.now();
      if (this.#failures > 0) this.#at(this.#pausedUntil);
      else {
        const { lookEvery = LOOK_MS } = this.#options;
        this.#at(this.#lookedAt + lookEvery);
      }
    }
  }

  #failed(error: unknown): void {
    if (this.#closed) return;
    const problem = problemOf(error);
    if (this.#problem !== problem.message) this.#options.onProblem(problem);
    this.#problem = problem.message;
    // With jitter, since all vehicles of a fleet lose and find one server together.
    const most = Math.min(LONGEST_PAUSE_MS, SHORTEST_PAUSE_MS * 2 ** this.#failures);
    const asked = problem instanceof KubernetesError ? problem.retryAfter : 0;
    this.#pausedUntil = performance.now() + Math.max(asked, most * (0.5 + Math.random() / 2));
    this.#failures += 1;
  }

  /** Whether the report that was written is still there: without it the status forgets this node. */
  async #look(): Promise<void> {
    const { api, lookEvery = LOOK_MS } = this.#options;
    const now = performance.now();
    if (this.#uid === undefined || now - this.#lookedAt < lookEvery) return;
    const found = await api.getMetadata(await this.#pathOf()).catch(orNone(404));
    // After a failure it is asked again.
    this.#lookedAt = now;
    if ((found as Answer | undefined)?.metadata.uid === this.#uid) return;
    this.#forget();
  }

  /** It was deleted, perhaps with its node: the one that has the node's name now is another. */
  #forget(): void {
    this.#written = undefined;
    this.#owners = undefined;
    this.#uid = undefined;
  }

  async #pathOf(): Promise<string> {
    const { namespace, node } = this.#options;
    this.#path ??= `${pathIn(`/apis/${GROUP}/${VERSION}`, await namespace(), REPORT_PLURAL)}/${node}`;
    return this.#path;
  }

  async #write(): Promise<void> {
    const { verdicts, standings, backlog, queueAnswers, api, node } = this.#options;
    const judged = verdicts();
    if (!judged) return;
    const content = buildReport({
      version: laybyVersion,
      now: new Date().toISOString(),
      verdicts: judged,
      standing: standings(),
      backlog: backlog(),
      queueAnswers: queueAnswers(),
    });
    const now = performance.now();
    const change = changeOf(this.#written, content);
    if (change === 'none') return;
    const { numbersEvery = NUMBERS_MS } = this.#options;
    if (change === 'numbers' && now - this.#writtenAt < numbersEvery) {
      this.#at(this.#writtenAt + numbersEvery);
      return;
    }
    this.#owners ??= await this.#node();
    const report = {
      apiVersion: `${GROUP}/${VERSION}`,
      kind: REPORT_KIND,
      metadata: { name: node, ownerReferences: this.#owners },
      ...content,
    };
    const { metadata } = (await api.apply(await this.#pathOf(), report, managerOf(node), true)) as Answer;
    this.writes += 1;
    this.#written = content;
    this.#writtenAt = now;
    this.#lookedAt = now;
    const before = this.#uid;
    this.#uid = metadata.uid;
    if (before === undefined || before === metadata.uid) return;
    this.#forget();
    this.#at(now);
  }

  /** With its node Kubernetes also deletes the report. */
  async #node(): Promise<Owner[]> {
    const { api, node } = this.#options;
    const found = await api.getMetadata(`/api/v1/nodes/${node}`).catch(orNone(403, 404));
    if (!found) return [];
    const { uid } = (found as Answer).metadata;
    return [{ apiVersion: 'v1', kind: 'Node', name: node, uid }];
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }
}
