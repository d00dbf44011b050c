// Keeps the report of this node up to date in its cluster (report.ts has what it says). It is written when something but numbers has changed;
// numbers alone are written now and then. The control planes of a fleet do not read each other's: one edit costs each of them its own write.

import { laybyVersion } from '../../../platform/layby-version.ts';
import type { LaybyError } from '../../../telemetry/error.ts';
import type { Api } from './api.ts';
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
import { orNone } from './refusal.ts';
import { REPORT_KIND, REPORT_PLURAL } from './report.ts';
import { Rounds } from './rounds.ts';

export type { Backlog, Standing } from './build-report.ts';

/** Between two rounds, ms. */
const ROUND_MS = 1_000;
/** Numbers alone are written no more often, ms. */
const NUMBERS_MS = 60_000;
/** Somebody may have deleted the report: it is looked for this often, ms. */
const LOOK_MS = 600_000;

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
  /** Keys of deletions that are not followed (vanished.ts). */
  held: () => readonly string[];
  /** For an authority of the node; undefined: none is wanted. */
  certificateRequest?: () => Promise<string | undefined>;
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
  readonly #rounds: Rounds;
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
    const { onProblem } = options;
    this.#rounds = new Rounds({ run: () => this.#round(), every: ROUND_MS, onProblem });
  }

  /** Something may have changed. */
  soon(): void {
    this.#rounds.soon();
  }

  /** The API server may be there again: a pause ends. */
  wake(): void {
    this.#rounds.wake();
  }

  async #round(): Promise<void> {
    await this.#look();
    await this.#write();
    const { lookEvery = LOOK_MS } = this.#options;
    if (this.#uid !== undefined) this.#rounds.at(this.#lookedAt + lookEvery);
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
    const { verdicts, standings, backlog, queueAnswers, held, api, node } = this.#options;
    const judged = verdicts();
    if (!judged) return;
    const certificateRequest = await this.#options.certificateRequest?.();
    const content = buildReport({
      version: laybyVersion,
      now: new Date().toISOString(),
      verdicts: judged,
      standing: standings(),
      backlog: backlog(),
      queueAnswers: queueAnswers(),
      held: held(),
      certificateRequest,
    });
    const now = performance.now();
    const change = changeOf(this.#written, content);
    if (change === 'none') return;
    const { numbersEvery = NUMBERS_MS } = this.#options;
    if (change === 'numbers' && now - this.#writtenAt < numbersEvery) {
      this.#rounds.at(this.#writtenAt + numbersEvery);
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
    this.#rounds.at(now);
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
    void this.#rounds.close();
  }
}
