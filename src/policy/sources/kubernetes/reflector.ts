// All objects of one collection as the API server has them, kept up to date. States: listing (nothing is known, or what was known is too old),
// watching (from the version of the list, or of the last event), waiting (after a failure, with what was known before). A watch that
// ends goes on where it was; what the server has forgotten (410) is listed anew.

import { setTimeout as sleep } from 'node:timers/promises';
import { timerMs } from '../../../platform/timer.ts';
import type { LaybyError } from '../../../telemetry/error.ts';
import { type Api, KubernetesError } from './api.ts';
import { hasStatus, problemOf } from './refusal.ts';

/** Objects in one answer. */
const PAGE = 500;
/** For days without the server: a try costs a metered link some kB. */
const SHORTEST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 60_000;
/** Not all of a fleet at once, ms. */
const WAKING_MS = 1_000;
/** A watch that ends sooner has failed, ms. */
const SHORT_MS = 1_000;
/** s */
const WATCH_S = 300;

interface List {
  metadata: { resourceVersion: string; continue?: string };
  items: unknown[];
}

/** What is known of any object. */
export interface Known {
  metadata: { namespace: string; name: string; resourceVersion: string };
}

export interface ReflectorOptions<Each extends Known> {
  /** `/apis/layby.dev/v1alpha1/destinations` */
  path: string;
  /** Only those. */
  labelSelector?: string;
  /** What is kept of an object: what the server says beside it (managedFields above all) is larger. */
  lean: (raw: unknown) => Each;
  /** The server ends a watch after one to two times so long, s; default 300. */
  watchSeconds?: number;
  /** Pauses grow from the first to the second, ms; default: half a second, a minute. */
  shortestPause?: number;
  longestPause?: number;
  onChange: () => void;
  /** It goes on by itself; undefined: it is over. */
  onProblem: (problem: LaybyError | undefined) => void;
}

export class Reflector<Each extends Known> {
  readonly #api: Api;
  readonly #options: ReflectorOptions<Each>;
  readonly #end = new AbortController();
  #asleep: AbortController | undefined;
  #objects = new Map<string, Each>();
  #version: string | undefined;
  /** An answer came in this turn. */
  #heard = false;
  /** All of a list has been here. */
  synced = false;
  /** Lists made so far. */
  lists = 0;
  /** Watches begun so far. */
  watches = 0;

  constructor(api: Api, options: ReflectorOptions<Each>) {
    this.#api = api;
    this.#options = options;
  }

  get objects(): IterableIterator<Each> {
    return this.#objects.values();
  }

  /** Until `close`. */
  async run(): Promise<void> {
    const { signal } = this.#end;
    let failures = 0;
    let retryAfter = 0;
    while (!signal.aborted) {
      const { lists } = this;
      const began = performance.now();
      this.#heard = false;
      retryAfter = 0;
      try {
        this.#version ??= await this.#list();
        this.#options.onProblem(undefined);
        await this.#watch(this.#version);
        failures = performance.now() - began < SHORT_MS ? failures + 1 : 0;
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof KubernetesError && error.status === 410) {
          this.#version = undefined;
          // To list once is at once. A server that forgets even that is asked more and more slowly.
          failures = lists === this.lists ? 0 : failures + 1;
        } else {
          // A resource that was deleted and is there again is another one: its watch would not say what is missing.
          if (hasStatus(error, 404)) this.#version = undefined;
          if (error instanceof KubernetesError) retryAfter = error.retryAfter;
          failures = this.#heard ? 1 : failures + 1;
          this.#options.onProblem(problemOf(error));
        }
      }
      if (failures === 0) continue;
      // With full jitter, since all vehicles of a fleet lose and find one server together.
      const { shortestPause = SHORTEST_PAUSE_MS, longestPause = LONGEST_PAUSE_MS } = this.#options;
      const most = Math.min(longestPause, shortestPause * 2 ** (failures - 1));
      const least = Math.min(longestPause, retryAfter);
      if (await this.#pause(least + Math.random() * most)) continue;
      failures = 0;
      await this.#pause(Math.random() * WAKING_MS);
    }
  }

  /** Returns whether it was all of it. */
  async #pause(ms: number): Promise<boolean> {
    this.#asleep = new AbortController();
    const signal = AbortSignal.any([this.#end.signal, this.#asleep.signal]);
    return sleep(timerMs(ms), true, { signal }).catch(() => false);
  }

  /** The server may be there again: it is asked soon, whatever the pause. */
  wake(): void {
    this.#asleep?.abort();
  }

  async #list(): Promise<string> {
    const objects = new Map<string, Each>();
    let next = '';
    for (;;) {
      const list = (await this.#api.get(
        this.#url({ limit: String(PAGE), ...(next && { continue: next }) }),
        this.#end.signal,
      )) as List;
      for (const raw of list.items) {
        const object = this.#options.lean(raw);
        objects.set(`${object.metadata.namespace}/${object.metadata.name}`, object);
      }
      next = list.metadata.continue ?? '';
      if (next) continue;
      this.#objects = objects;
      this.synced = true;
      this.lists += 1;
      this.#heard = true;
      this.#options.onChange();
      return list.metadata.resourceVersion;
    }
  }

  async #watch(from: string): Promise<void> {
    this.watches += 1;
    // Not all at once after a restart of the server.
    const seconds = Math.round((this.#options.watchSeconds ?? WATCH_S) * (1 + Math.random()));
    const url = this.#url({
      watch: '1',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(seconds),
      resourceVersion: from,
    });
    for await (const { type, object } of this.#api.watch(url, this.#end.signal)) {
      this.#heard = true;
      const known = this.#options.lean(object);
      this.#version = known.metadata.resourceVersion;
      if (type === 'BOOKMARK') continue;
      const key = `${known.metadata.namespace}/${known.metadata.name}`;
      if (type === 'DELETED') this.#objects.delete(key);
      else this.#objects.set(key, known);
      this.#options.onChange();
    }
  }

  #url(query: Record<string, string>): string {
    const { path, labelSelector } = this.#options;
    return `${path}?${new URLSearchParams({ ...query, ...(labelSelector && { labelSelector }) })}`;
  }

  close(): void {
    this.#end.abort();
  }
}
