// The link of each destination, from what the kernel and the operator say. The operator's word outlives a restart: who cut a
// link on purpose does not want a crash to mend it.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type KernelWatch, watchKernel } from '../link/kernel.ts';
import { type Link, type LinkHints, newLink, type Override, step } from '../link/state.ts';
import type { Destination } from '../policy/policy.ts';
import { replaceFile } from '../policy/replace-file.ts';
import { LaybyError } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Edge } from './edge.ts';
import { upstreamOf } from './resources/clusters.ts';

const FILE = 'link-overrides.json';

export class Links {
  #edge: Edge;
  #file: string;
  #log: Logger;
  #links = new Map<string, Link>();
  #kernel: KernelWatch;
  #saving: Promise<void> = Promise.resolve();

  constructor(edge: Edge, dir: string, log: Logger) {
    this.#edge = edge;
    this.#file = join(dir, FILE);
    this.#log = log;
    for (const [name, override] of Object.entries(this.#saved())) this.#say(name, { override });
    this.#publish();
    this.#kernel = watchKernel({
      log,
      targets: () => this.#destinations().map((destination) => upstreamOf(destination).host),
      onChange: (reachable) => {
        for (const destination of this.#destinations()) {
          this.#say(destination.name, { kernel: reachable.get(upstreamOf(destination).host) });
        }
        this.#publish();
      },
    });
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

  #publish(): void {
    this.#edge.setLinks(new Map([...this.#links].map(([name, link]) => [name, link.state] as const)));
  }

  /** Looks again, after the policy has changed. */
  look(): void {
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
    await this.#kernel.close();
    await this.#saving;
  }
}
