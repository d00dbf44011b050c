// The link of each destination, from what the kernel and the operator say. The operator's word outlives a restart: who cut a
// link on purpose does not want a crash to mend it.

import { existsSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { isOwn, type KernelWatch, type Reachable, watchKernel } from '../link/kernel.ts';
import { type Network, networkWord } from '../link/network.ts';
import { type NetworkWatch, watchNetwork } from '../link/network-watch.ts';
import { watchProbe } from '../link/probe.ts';
import {
  type Link,
  type LinkHints,
  type LinkState,
  newLink,
  type Override,
  SOURCES,
  type Source,
  settlesAt,
  step,
  type Word,
  wordOf,
} from '../link/state.ts';
import { timerMs } from '../platform/timer.ts';
import type { Destination, Policy } from '../policy/policy.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import type { DurableFile } from '../wire/durable-file.ts';
import type { Lane } from '../wire/edge-service.ts';
import {
  type LinkMemory,
  linkMemoryText,
  NO_OVERRIDES,
  type Overrides,
  overrideOf,
  readLinkMemory,
  withOverride,
} from '../wire/link-memory.ts';
import { type Edge, networkMessage } from './edge.ts';
import { upstreamOf } from './resources/clusters.ts';

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

export interface LinksOptions {
  edge: Edge;
  /** Where overrides and the kind of link are kept, for the queue too. */
  file: DurableFile;
  /** Where an older version kept its overrides. */
  legacyFile?: string;
  log: Logger;
  probe?: ProbeTarget | undefined;
  /** Who finds out the kind of link; default: watchNetwork. */
  watch?: typeof watchNetwork;
}

export class Links {
  #edge: Edge;
  #file: DurableFile;
  #log: Logger;
  #memory: LinkMemory = NO_OVERRIDES;
  /** What is in the file. */
  #kept: string | undefined;
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
  /** The write under way. */
  #saving: Promise<void> = Promise.resolve();
  /** The one that begins when it has ended. */
  #nextSave: Promise<void> | undefined;
  /** The ways out are other ones than before. */
  onNetwork: () => void = () => {};

  constructor({ edge, file, legacyFile, log, probe, watch = watchNetwork }: LinksOptions) {
    this.#edge = edge;
    this.#file = file;
    this.#log = log;
    const known = readLinkMemory(file);
    const legacy = known ? {} : legacyOverrides(legacyFile);
    if (!known && existsSync(file.path))
      log.error({ file: file.path }, 'the link overrides cannot be read: every link is on auto');
    this.#memory = known ?? { ...NO_OVERRIDES, byName: legacy };
    this.#kept = known && linkMemoryText(known);
    edge.linksOf = (policy) => this.#linksOf(policy);
    if (edge.policy) this.#linksOf(edge.policy);
    this.#publish();
    // Also where it was missing: from now on the queue knows that there is no override.
    this.#save()
      .then(async () => {
        if (legacyFile !== undefined) await rm(legacyFile, { force: true });
      })
      .catch((error) => log.error({ err: error }, 'the link overrides cannot be kept'));
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
    this.#networks = watch(log, (network) => {
      this.#network = network;
      this.onNetwork();
      edge.setNetwork(network);
      this.#memory = { ...this.#memory, network: networkMessage(network) };
      this.#save().catch((error) => log.error({ err: error }, 'the kind of link cannot be kept'));
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

  /** Links for all destinations of a policy, also for those that are new in it; those of others are forgotten. */
  #linksOf({ destinations }: Policy): ReadonlyMap<string, LinkState> {
    const names = new Set(destinations.map(({ name }) => name));
    for (const name of this.#links.keys()) if (!names.has(name)) this.#links.delete(name);
    for (const name of names) this.#say(name, { override: overrideOf(this.#memory, name) });
    return this.#states();
  }

  #states(): ReadonlyMap<string, LinkState> {
    return new Map([...this.#links].map(([name, link]) => [name, link.state] as const));
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
    if (Number.isFinite(next)) this.#settling = setTimeout(() => this.#settle(), timerMs(next - now)).unref();
    this.#edge.setLinks(this.#states());
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

  /** As the operator set them. */
  get overrides(): Overrides {
    const { all, byName } = this.#memory;
    return { all, byName };
  }

  /** Overrides links: of all destinations, those that the policy gets later included, where no names are given. It takes effect
   *  immediately; resolves when a crash cannot take it back. Errors: LAYBY_LINK_INVALID, LAYBY_DESTINATION_UNKNOWN,
   *  LAYBY_LINK_NOT_KEPT. */
  async override(override: Override, names: readonly string[]): Promise<void> {
    if (!['up', 'down', 'auto'].includes(override)) {
      throw new LaybyError('LAYBY_LINK_INVALID', `a link is up, down or auto, not ${override}`);
    }
    const known = this.#destinations().map(({ name }) => name);
    // The override of a destination that the policy has lost can be taken back.
    const allowed = new Set([...known, ...(override === 'auto' ? Object.keys(this.#memory.byName) : [])]);
    for (const name of names) {
      if (allowed.has(name)) continue;
      throw new LaybyError('LAYBY_DESTINATION_UNKNOWN', `the policy names no destination ${name}`, {
        remedy: `it names ${known.join(', ')}`,
      });
    }
    this.#memory = { ...this.#memory, ...withOverride(this.#memory, override, names) };
    for (const name of known) this.#say(name, { override: overrideOf(this.#memory, name) });
    this.#publish();
    try {
      await this.#save();
    } catch (error) {
      throw new LaybyError(
        'LAYBY_LINK_NOT_KEPT',
        `the override is in effect, and cannot be written to ${this.#file.path} (${messageOf(error)}): a restart forgets it`,
        { remedy: 'see that the disk has room and is writable, then override the link again', cause: error },
      );
    }
  }

  /** Rejects with what the file system says. */
  #save(): Promise<void> {
    if (this.#nextSave) return this.#nextSave;
    const mine = this.#saving
      .catch(() => {})
      .then(async () => {
        this.#nextSave = undefined;
        const text = linkMemoryText(this.#memory);
        // The strength of a signal changes all the time, and is not in it.
        if (text === this.#kept) return;
        this.#kept = undefined;
        await this.#file.replace(text);
        this.#kept = text;
      });
    this.#nextSave = mine;
    this.#saving = mine;
    return mine;
  }

  async close(): Promise<void> {
    clearTimeout(this.#settling);
    this.#endProbe();
    await this.#networks.close();
    await this.#kernel.close();
    await this.#saving.catch(() => {});
  }
}

/** `{"api":"down"}` of an older version, beside its policy. */
function legacyOverrides(path: string | undefined): Overrides['byName'] {
  if (path === undefined) return {};
  try {
    const names = Object.entries(JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>);
    return Object.fromEntries(
      names.filter((entry): entry is [string, Override] => entry[1] === 'down' || entry[1] === 'up'),
    );
  } catch {
    return {};
  }
}
