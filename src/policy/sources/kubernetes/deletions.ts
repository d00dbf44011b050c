// Holds what vanished.ts takes for an accident: in force over restarts, and told until it is settled.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { timerMs } from '../../../platform/timer.ts';
import { LaybyError } from '../../../telemetry/error.ts';
import type { Logger } from '../../../telemetry/log.ts';
import type { Policy } from '../../policy.ts';
import { replaceFile } from '../../replace-file.ts';
import { HELD_FILE, nothingHeld } from './held.ts';
import { ACCEPT_ANNOTATION } from './names.ts';
import type { PolicyObject } from './objects.ts';
import { heldOf, heldText, keyOfPart, Vanished } from './vanished.ts';

const FORMAT = 1;

export interface DeletionsOptions {
  dir: string;
  inForce: () => Policy | undefined;
  /** What was held for a moment is to be judged again. */
  onDue: () => void;
  log: Logger;
}

export class Deletions {
  readonly #options: DeletionsOptions;
  readonly #vanished: Vanished;
  #timer: NodeJS.Timeout | undefined;
  #accepting = false;
  #told: ReadonlySet<string> = new Set();
  #saved: string;
  #saving: Promise<void> = Promise.resolve();
  /** The policy must be judged again, though no object has changed. */
  due = false;

  constructor(options: DeletionsOptions) {
    this.#options = options;
    const held = this.#load();
    this.#saved = held.join('\n');
    this.#vanished = new Vanished(held);
  }

  /** Keys of objects that are gone and stay in force, sorted. */
  get held(): readonly string[] {
    return this.#vanished.held;
  }

  get problem(): LaybyError | undefined {
    const { held } = this;
    if (held.length === 0) return undefined;
    return new LaybyError(
      'LAYBY_POLICY_DELETIONS_HELD',
      `the cluster has lost ${heldText(heldOf(held))} at once; what is lost stays in force`,
      {
        remedy: `apply the objects again; or accept it, here with \`layby policy accept-deletions\`, on every node with the annotation ${ACCEPT_ANNOTATION}=true on an object of kind Mesh`,
      },
    );
  }

  /** `policy`, which these objects make, with what is held. */
  guard(policy: Policy, objects: readonly PolicyObject[]): Policy {
    this.due = false;
    clearTimeout(this.#timer);
    const kept = this.#vanished.look({
      inForce: this.#options.inForce(),
      policy,
      there: new Set(objects.map(({ kind, metadata: { name } }) => keyOfPart(kind, name))),
      accepted: this.#accepting || acceptsDeletions(objects),
      now: performance.now(),
    });
    if (kept.again !== undefined)
      this.#timer = setTimeout(() => this.#look(), timerMs(Math.max(1, kept.again)));
    this.#tell();
    this.#save();
    return kept.policy;
  }

  /** Returns what is not held any more. Errors: LAYBY_POLICY_NOTHING_HELD, LAYBY_KUBERNETES_AWAY. */
  accept(): string[] {
    const { held } = this.#vanished;
    if (held.length === 0) throw nothingHeld();
    this.#accepting = true;
    try {
      this.#look();
    } finally {
      this.#accepting = false;
    }
    if (this.due)
      throw new LaybyError('LAYBY_KUBERNETES_AWAY', 'not all objects have been listed since the start', {
        remedy: 'accept the deletions when `layby status` says nothing of the API server any more',
      });
    return held;
  }

  #look(): void {
    this.due = true;
    this.#options.onDue();
  }

  #tell(): void {
    const { log } = this.#options;
    const { held } = this.#vanished;
    const { problem } = this;
    if (problem && held.some((key) => !this.#told.has(key)))
      log.error({ code: problem.code, problem: problem.line, held }, 'deletions held; the policy stays');
    else if (!problem && this.#told.size > 0) log.info('deletions are no longer held');
    this.#told = new Set(held);
  }

  #load(): string[] {
    try {
      const text = readFileSync(join(this.#options.dir, HELD_FILE), 'utf8');
      const { format, held } = JSON.parse(text) as { format: number; held: unknown };
      return format === FORMAT && Array.isArray(held) ? held.map(String) : [];
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        this.#options.log.warn({ err: error }, 'the list of held deletions cannot be read');
      return [];
    }
  }

  #save(): void {
    const { held } = this.#vanished;
    const text = held.join('\n');
    if (text === this.#saved) return;
    this.#saved = text;
    this.#saving = this.#saving
      .then(() => replaceFile(join(this.#options.dir, HELD_FILE), JSON.stringify({ format: FORMAT, held })))
      .catch((error) => this.#options.log.error({ err: error }, 'the held deletions could not be saved'));
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#saving;
  }
}

export const acceptsDeletions = (objects: readonly PolicyObject[]): boolean =>
  objects.some(({ acceptsDeletions }) => acceptsDeletions);
