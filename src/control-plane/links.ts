// The link of each destination, from what the kernel and the operator say. The operator's word outlives a restart: who cut a
// link on purpose does not want a crash to mend it.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isOwn, type KernelWatch, type Reachable, watchKernel } from '../link/kernel.ts';
import { type Network, networkWord } from '../link/network.ts';
import { type NetworkWatch, watchNetwork } from '../link/network-watch.ts';
import { watchProbe } from '../link/probe.ts';
import {
  type Link,
  type LinkHints,
  newLink,
  type Override,
  SOURCES,
  type Source,
  settlesAt,
  step,
  type Word,
  wordOf,
} from '../link/state.ts';
import type { Destination } from '../policy/policy.ts';
import { replaceFile } from '../policy/replace-file.ts';
import { LaybyError } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Lane } from '../wire/edge-service.ts';
import type { Edge } from './edge.ts';
import { upstreamOf } from './resources/clusters.ts';

const FILE = 'link-overrides.json';

/** Of the optional probe. */
export interface ProbeTarget {
  url: string;
  /** ms. */
  every: number;
}

export interface SourceView {
  source: Source;
  says: Word;
  /** ms since the epoch. */
  since: number;
}

export class Links {
  #edge: Edge;
  #file: string;
  #log: Logger;
  #links = new Map<string, Link>();
  /** Of lanes: how often something had got through when they last reported. */
  #reached = new Map<string, number>();
  #settling: NodeJS.Timeout | undefined;
  #kernel: KernelWatch;
  /** By host, as the kernel last said. */
  #reachable: Reachable = new Map();
  #networks: NetworkWatch;
  #network: Network | undefined;
  #probe: Word | undefined;
  #endProbe: () => void;
  #saving: Promise<void> = Promise.resolve();
  /** The ways out are other ones than before. */
  onNetwork: () => void = () => {};

  constructor(edge: Edge, dir: string, log: Logger, probe?: ProbeTarget) {
    this.#edge = edge;
    this.#file = join(dir, FILE);
    this.#log = log;
    for (const [name, override] of Object.entries(this.#saved())) this.#say(name, { override });
    this.#publish();
    edge.onLanes = (lanes) => this.#traffic(lanes);
    this.#kernel = watchKernel({
      log,
      targets: () =>
        this.#destinations().flatMap((each) => (each.upstream.service ? [] : [upstreamOf(each).host])),
      onChange: (reachable) => {
        this.#reachable = reachable;
        this.onNetwork();
        this.#sayKernel();
        this.#networks.look();
        this.#sayNetwork();
        this.#publish();
      },
    });
    this.#networks = watchNetwork(log, (network) => {
      this.#network = network;
      this.onNetwork();
      edge.setNetwork(network);
      this.#sayNetwork();
      this.#publish();
    });
    this.#endProbe = probe
      ? watchProbe({
          ...probe,
          onChange: (word) => {
            this.#probe = word;
            this.#sayNetwork();
            this.#publish();
          },
        })
      : () => {};
  }

  #sayKernel(): void {
    for (const destination of this.#destinations()) {
      this.#say(destination.name, { kernel: this.#reachable.get(upstreamOf(destination).host) });
    }
  }

  /** What is said of all ways out at once; this machine itself, and what is in its cluster, is reached without any. */
  #sayNetwork(): void {
    for (const destination of this.#destinations()) {
      const { service } = destination.upstream;
      const within = service !== undefined || isOwn(upstreamOf(destination).host);
      const route = this.#links.get(destination.name)?.hints.kernel;
      this.#say(destination.name, {
        network: within ? undefined : networkWord(this.#network, route),
        probe: within ? undefined : this.#probe,
      });
    }
  }

  get network(): Network | undefined {
    return this.#network;
  }

  #destinations(): Destination[] {
    return this.#edge.policy?.destinations ?? [];
  }

  #saved(): Record<string, Override> {
    try {
      return JSON.parse(readFileSync(this.#file, 'utf8')) as Record<string, Override>;
    } catch {
      return {};
    }
  }

  #say(name: string, said: Partial<LinkHints>): void {
    const before = this.#links.get(name) ?? newLink(Date.now());
    const after = step(before, said, Date.now());
    this.#links.set(name, after);
    if (after.state === before.state) return;
    this.#log.info({ destination: name, link: after.state.state, by: after.state.by }, 'link');
  }

  /** What the queue saw pass and fail, its own tries and those of the sidecars. */
  #traffic(lanes: readonly Lane[]): void {
    let news = false;
    for (const { destination, failing, reached } of lanes) {
      const before = this.#reached.get(destination) ?? 0;
      this.#reached.set(destination, reached);
      const state = this.#links.get(destination)?.state;
      if (failing) this.#say(destination, { traffic: 'fails' });
      else if (reached !== before && reached > 0) this.#say(destination, { traffic: 'passes' });
      news ||= this.#links.get(destination)?.state !== state;
    }
    if (news) this.#publish();
  }

  /** What each source says of the link to a destination, in the order in which they are asked. */
  sources(name: string): SourceView[] {
    const link = this.#links.get(name);
    if (!link) return [];
    return SOURCES.flatMap((source) => {
      const says = wordOf(link.hints, source);
      const since = link.spoke[source];
      return says === undefined || since === undefined ? [] : [{ source, says, since }];
    });
  }

  #publish(): void {
    clearTimeout(this.#settling);
    const now = Date.now();
    const next = Math.min(
      ...[...this.#links.values()].map((link) => settlesAt(link) ?? Infinity).filter((at) => at > now),
    );
    if (Number.isFinite(next)) this.#settling = setTimeout(() => this.#settle(), next - now).unref();
    this.#edge.setLinks(new Map([...this.#links].map(([name, link]) => [name, link.state] as const)));
  }

  /** Time alone may have ended a flapping. */
  #settle(): void {
    for (const name of this.#links.keys()) this.#say(name, {});
    this.#publish();
  }

  /** Looks again, after the policy has changed. */
  look(): void {
    this.#sayKernel();
    this.#sayNetwork();
    this.#publish();
    this.#kernel.look();
  }

  /** The operator's word; no names: all destinations. Errors: LAYBY_LINK_INVALID, LAYBY_DESTINATION_UNKNOWN. */
  override(to: Override, names: string[]): void {
    if (!['up', 'down', 'auto'].includes(to)) {
      throw new LaybyError('LAYBY_LINK_INVALID', `a link is up, down or auto, not ${to}`);
    }
    const known = this.#destinations().map(({ name }) => name);
    for (const name of names) {
      if (known.includes(name)) continue;
      throw new LaybyError('LAYBY_DESTINATION_UNKNOWN', `the policy names no destination ${name}`, {
        remedy: `it names ${known.join(', ')}`,
      });
    }
    for (const name of names.length > 0 ? names : known) this.#say(name, { override: to });
    this.#publish();
    this.#save();
  }

  #save(): void {
    const overrides = [...this.#links]
      .map(([name, { hints }]) => [name, hints.override] as const)
      .filter(([, override]) => override !== 'auto');
    const text = JSON.stringify(Object.fromEntries(overrides));
    this.#saving = this.#saving
      .then(() => replaceFile(this.#file, text))
      .catch((error) => this.#log.error({ err: error }, 'the override is in force but could not be kept'));
  }

  async close(): Promise<void> {
    clearTimeout(this.#settling);
    this.#endProbe();
    await this.#networks.close();
    await this.#kernel.close();
    await this.#saving;
  }
}
