// The endpoints of the Services that a policy names, followed in the cluster for as long as it names them. What was known last is on the
// disk: a node that starts without the API server goes on with that.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LaybyError } from '../../../telemetry/error.ts';
import type { Logger } from '../../../telemetry/log.ts';
import type { Wanted } from '../../cluster-service.ts';
import { replaceFile } from '../../replace-file.ts';
import type { Api } from './api.ts';
import { Gathering } from './gathering.ts';
import { pathIn } from './names.ts';
import { Reflector } from './reflector.ts';
import {
  type ClusterView,
  type Found,
  find,
  SERVICE_LABEL,
  type ServiceObject,
  type Slice,
  serviceObject,
  slice,
} from './slices.ts';

const FILE = 'endpoints.json';
// Raised when ClusterView changes its shape: an older file is then as none.
const FORMAT = 1;

const NOTHING: ClusterView = { services: [], slices: [] };

export interface EndpointsOptions {
  api: Api;
  /** Undefined: all. */
  namespace?: string | undefined;
  /** Whose endpoints come first. */
  node: string;
  /** What was known last is kept here. */
  dir: string;
  onChange: () => void;
  /** Of what; it goes on by itself. Undefined: it is over. */
  onProblem: (of: 'services' | 'endpoints', problem: LaybyError | undefined) => void;
  log: Logger;
}

/** What of a cluster concerns these Services. */
interface Following {
  /** Sorted, `NAMESPACE/NAME`. */
  of: readonly string[];
  services: Reflector<ServiceObject>;
  slices: Reflector<Slice>;
}

export class Endpoints {
  readonly #options: EndpointsOptions;
  readonly #gathering = new Gathering(() => this.#look());
  #following: Following | undefined;
  #view: ClusterView;
  /** Of which Services that is, `NAMESPACE/NAME`. */
  #known: ReadonlySet<string>;
  #saved: string;
  #saving: Promise<void> = Promise.resolve();

  constructor(options: EndpointsOptions) {
    this.#options = options;
    this.#view = this.#load();
    this.#known = new Set(
      this.#view.services.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`),
    );
    this.#saved = JSON.stringify(this.#view);
  }

  /** Of these Services from now on; what is known of them stays until the cluster says otherwise. */
  follow(wanted: Iterable<Wanted>): void {
    const all = [...wanted];
    const of = [...new Set(all.map(({ namespace, name }) => `${namespace}/${name}`))].sort();
    if (of.join() === (this.#following?.of ?? []).join()) return;
    this.#leave();
    if (of.length === 0) return;
    const { api, namespace, onProblem } = this.#options;
    const names = [...new Set(all.map(({ name }) => name))].sort();
    const common = { onChange: () => this.#gathering.changed() };
    const following: Following = {
      of,
      services: new Reflector(api, {
        ...common,
        path: pathIn('/api/v1', namespace, 'services'),
        lean: serviceObject,
        onProblem: (problem) => onProblem('services', problem),
      }),
      slices: new Reflector(api, {
        ...common,
        path: pathIn('/apis/discovery.k8s.io/v1', namespace, 'endpointslices'),
        // Each costs a metered link something, and most are of others.
        labelSelector: `${SERVICE_LABEL} in (${names.join()})`,
        lean: slice,
        onProblem: (problem) => onProblem('endpoints', problem),
      }),
    };
    this.#following = following;
    void following.services.run();
    void following.slices.run();
  }

  wake(): void {
    this.#following?.services.wake();
    this.#following?.slices.wake();
  }

  find(wanted: Wanted): Found {
    const { node, namespace } = this.#options;
    const what = `${wanted.namespace}/${wanted.name}`;
    if (namespace !== undefined && wanted.namespace !== namespace)
      return { priorities: [], problem: `the Service ${what} is not of the one namespace that is followed` };
    const found = find(this.#view, wanted, node);
    return this.#known.has(what)
      ? found
      : { ...found, problem: `of the Service ${what} nothing is known yet` };
  }

  #look(): void {
    const { of, services, slices } = this.#following ?? {};
    // One without the other would be Services without endpoints.
    if (!of || !services?.synced || !slices?.synced) return;
    const isWanted = (namespace: string, name: string) => of.includes(`${namespace}/${name}`);
    this.#view = {
      services: [...services.objects].filter(({ metadata }) => isWanted(metadata.namespace, metadata.name)),
      slices: [...slices.objects].filter(({ metadata, service }) => isWanted(metadata.namespace, service)),
    };
    this.#known = new Set(of);
    this.#options.onChange();
    this.#save();
  }

  #load(): ClusterView {
    try {
      const text = readFileSync(join(this.#options.dir, FILE), 'utf8');
      const { format, view } = JSON.parse(text) as { format: number; view: ClusterView };
      return format === FORMAT ? view : NOTHING;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        this.#options.log.warn({ err: error }, 'the endpoints that were known last cannot be read');
      return NOTHING;
    }
  }

  #save(): void {
    const text = JSON.stringify(this.#view);
    if (text === this.#saved) return;
    this.#saved = text;
    this.#saving = this.#saving
      // Only the newest.
      .then(() =>
        text === this.#saved
          ? replaceFile(
              join(this.#options.dir, FILE),
              JSON.stringify({ format: FORMAT, view: JSON.parse(text) as ClusterView }),
            )
          : undefined,
      )
      .catch((error) => this.#options.log.error({ err: error }, 'the endpoints could not be kept'));
  }

  #leave(): void {
    this.#following?.services.close();
    this.#following?.slices.close();
    this.#following = undefined;
    this.#options.onProblem('services', undefined);
    this.#options.onProblem('endpoints', undefined);
  }

  async close(): Promise<void> {
    this.#gathering.close();
    this.#leave();
    await this.#saving;
  }
}
