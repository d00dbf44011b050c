// Signs the authorities of the edge nodes: a request in a Report in, a certificate and the roots in its status out. Only the process that holds the
// Lease does it; who may write a Report is confined to its node, so a request is that of the node the Report is called after.

import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Saved } from '../../../identity/authority.ts';
import { INTERMEDIATE_LIFE_MS, signIntermediate } from '../../../identity/intermediate.ts';
import { timerMs } from '../../../platform/timer.ts';
import { LaybyError, messageOf } from '../../../telemetry/error.ts';
import type { Logger } from '../../../telemetry/log.ts';
import { type AuthoritySecretOptions, readAuthoritySecret } from './authority-secret.ts';
import { GROUP, pathIn, VERSION } from './names.ts';
import { hasStatus } from './refusal.ts';
import { REPORT_PLURAL, type ReportStatus } from './report.ts';

/** Between two rounds without a change, ms: the Secret may be another, and certificates grow old. */
const LOOK_MS = 30_000;
/** Between two rounds, ms. */
const ROUND_MS = 1_000;

/** What of a Report it needs. */
export interface SigningView {
  request: string;
  certificate: string | undefined;
  /** Of the roots, which all nodes have alike. */
  roots: string;
  problem: string | undefined;
}

const digestOf = (roots: readonly string[]): string =>
  createHash('sha256').update(JSON.stringify(roots)).digest('base64');

export function signingViewOf(raw: unknown): SigningView | undefined {
  const { certificateRequest, status = {} } = raw as { certificateRequest?: string; status?: ReportStatus };
  if (certificateRequest === undefined) return undefined;
  const { certificate, roots = [], problem } = status;
  return { request: certificateRequest, certificate, roots: digestOf(roots), problem };
}

export interface NodeSignerOptions extends AuthoritySecretOptions {
  /** By node. */
  requests: () => Iterable<[node: string, view: SigningView]>;
  leads: () => boolean;
  log: Logger;
  /** Of a certificate, ms; default: a year. */
  life?: number;
  /** Between two looks, ms; default: half a minute. */
  look?: number;
  /** Default: Date.now */
  now?: () => number;
}

export class NodeSigner {
  readonly #options: NodeSignerOptions;
  readonly #end = new AbortController();
  #asleep = new AbortController();
  #running: Promise<void> | undefined;
  #authority: Saved | undefined;
  #problem: string | undefined;
  /** Until when nothing is to be done for a node in this state, by node: signatures cost time. */
  readonly #done = new Map<string, { state: string; until: number }>();

  constructor(options: NodeSignerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** A Report is another. */
  changed(): void {
    this.#asleep.abort();
  }

  async #run(): Promise<void> {
    const { look = LOOK_MS, log } = this.#options;
    const { signal } = this.#end;
    while (!signal.aborted) {
      this.#asleep = new AbortController();
      try {
        await this.#round();
        this.#problem = undefined;
      } catch (err) {
        const problem = messageOf(err);
        if (!signal.aborted && problem !== this.#problem)
          log.warn({ err }, 'certificates of nodes cannot be signed; it is tried again');
        this.#problem = problem;
      }
      await sleep(timerMs(Math.min(look, ROUND_MS)), undefined, { signal }).catch(() => {});
      const woken = AbortSignal.any([this.#asleep.signal, signal]);
      await sleep(timerMs(look), undefined, { signal: woken }).catch(() => {});
    }
  }

  async #round(): Promise<void> {
    const { leads, requests } = this.#options;
    if (!leads()) return;
    this.#authority = await readAuthoritySecret(this.#options, this.#authority);
    const all = new Map(requests());
    for (const node of this.#done.keys()) if (!all.has(node)) this.#done.delete(node);
    for (const [node, view] of all) {
      if (this.#end.signal.aborted || !leads()) return;
      await this.#sign(node, view, this.#authority);
    }
  }

  async #sign(node: string, view: SigningView, authority: Saved): Promise<void> {
    const { api, namespace, log, life = INTERMEDIATE_LIFE_MS, now = Date.now } = this.#options;
    const roots = authority.roots.map(({ certificate }) => certificate);
    const digest = digestOf(roots);
    const state = JSON.stringify([view, digest, authority.signing]);
    const done = this.#done.get(node);
    if (done?.state === state && now() < done.until) return;
    const { request, certificate: before } = view;
    let certificate = before;
    let problem: string | undefined;
    try {
      certificate = await signIntermediate({
        ...{ node, request, certificate: before, authority, life },
        now: now(),
      });
    } catch (error) {
      problem = error instanceof LaybyError ? `${error.message}; ${error.remedy}` : messageOf(error);
      log.warn({ node, problem }, 'no certificate signed');
    }
    if (certificate !== before || problem !== view.problem || digest !== view.roots) {
      const path = `${pathIn(`/apis/${GROUP}/${VERSION}`, namespace, REPORT_PLURAL)}/${encodeURIComponent(node)}/status`;
      try {
        await api.patch(path, { status: { certificate, roots, problem: problem ?? null } });
      } catch (error) {
        if (hasStatus(error, 404, 409)) return; // It is gone; the watch says what is there.
        throw error;
      }
      if (certificate !== before) log.info({ node }, 'certificate signed');
    }
    this.#done.set(node, { state, until: now() + Math.min(life / 100, 3_600_000) });
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#running;
  }
}
