// Brings a node what the cluster part has signed for it: the status of its Report. Asked for now and then, by metadata alone (a Report may be
// large, and links are metered): the whole is read only when somebody has written its status.

import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeAuthority } from '../../../identity/node-authority.ts';
import { timerMs } from '../../../platform/timer.ts';
import { LaybyError } from '../../../telemetry/error.ts';
import type { Logger } from '../../../telemetry/log.ts';
import type { Api } from './api.ts';
import { GROUP, pathIn, VERSION } from './names.ts';
import { orNone, problemOf } from './refusal.ts';
import { REPORT_PLURAL, type ReportStatus } from './report.ts';

/** Without a certificate, ms; pauses grow. */
const SHORTEST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 60_000;
/** With one, ms. */
const LOOK_MS = 5 * 60_000;
/** Before its end: it should have been renewed months ago, ms. */
const LATE_MS = 30 * 24 * 3_600_000;

export interface SignedIdentityOptions {
  api: Api;
  node: string;
  namespace: () => Promise<string>;
  authority: () => Promise<NodeAuthority>;
  /** It goes on by itself; undefined: it is over. */
  onProblem: (problem: LaybyError | undefined) => void;
  log: Logger;
  /** With a certificate, ms; default: five minutes. */
  look?: number | undefined;
}

interface Metadata {
  metadata: { uid: string; managedFields?: { subresource?: string; time?: string }[] };
}

export class SignedIdentity {
  readonly #options: SignedIdentityOptions;
  readonly #end = new AbortController();
  #asleep = new AbortController();
  #running: Promise<void> | undefined;
  #pause = SHORTEST_PAUSE_MS;
  /** When the status that was read was written, by the server. */
  #read: { stamp: string; times: number } | undefined;
  #last: ReportStatus | undefined;

  constructor(options: SignedIdentityOptions) {
    this.#options = options;
  }

  /** Until `close`. */
  run(): Promise<void> {
    this.#running ??= this.#run();
    return this.#running;
  }

  wake(): void {
    this.#pause = SHORTEST_PAUSE_MS;
    this.#asleep.abort();
  }

  async #run(): Promise<void> {
    while (!this.#end.signal.aborted) {
      const problem = await this.#look().catch(problemOf);
      if (this.#end.signal.aborted) return;
      this.#options.onProblem(problem);
      // Written in one second, a second status would look like the first: it is read twice.
      const settled = problem === undefined && this.#read !== undefined && this.#read.times > 1;
      const { look = LOOK_MS } = this.#options;
      const pause = settled ? look : Math.min(look, this.#pause);
      this.#pause = settled ? SHORTEST_PAUSE_MS : Math.min(2 * this.#pause, LONGEST_PAUSE_MS);
      this.#asleep = new AbortController();
      const signal = AbortSignal.any([this.#asleep.signal, this.#end.signal]);
      await sleep(timerMs(pause * (0.8 + 0.4 * Math.random())), undefined, { signal }).catch(() => {});
    }
  }

  /** Returns why the node has no certificate that lasts. */
  async #look(): Promise<LaybyError | undefined> {
    const authority = await this.#options.authority();
    const status = await this.#status();
    if (status && (await authority.take(status)))
      this.#options.log.info({ signed: authority.signed }, 'certificates of the mesh');
    const { end } = authority;
    if (status?.problem !== undefined)
      return new LaybyError('LAYBY_IDENTITY_REFUSED', status.problem, {
        remedy:
          'see docs/kubernetes.md#roots-of-the-mesh; the node goes on with the certificates that it has',
      });
    if (end === undefined || end - Date.now() > LATE_MS) return undefined;
    return new LaybyError(
      'LAYBY_IDENTITY_REFUSED',
      `the certificate authority of the node ends at ${new Date(end).toISOString()} and was not renewed`,
      { remedy: 'let the node reach its cluster, and see whether the cluster part runs' },
    );
  }

  /** Undefined: there is none, or none that is news. */
  async #status(): Promise<ReportStatus | undefined> {
    const { api, node, namespace } = this.#options;
    const path = `${pathIn(`/apis/${GROUP}/${VERSION}`, await namespace(), REPORT_PLURAL)}/${encodeURIComponent(node)}`;
    const found = (await api.getMetadata(path).catch(orNone(404))) as Metadata | undefined;
    const written = found?.metadata.managedFields?.find(({ subresource }) => subresource === 'status')?.time;
    if (!found || written === undefined) {
      this.#read = undefined;
      return undefined;
    }
    const stamp = `${found.metadata.uid} ${written}`;
    const times = this.#read?.stamp === stamp ? this.#read.times : 0;
    if (times > 1) return this.#last;
    const { status = {} } = (await api.get(path)) as { status?: ReportStatus };
    this.#read = { stamp, times: times + 1 };
    this.#last = status;
    return status;
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#running;
  }
}
