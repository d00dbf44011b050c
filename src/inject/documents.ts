// Manifests in, the same manifests out with sidecars in whatever runs pods. Documents without pods stay as they were written, to the
// byte; in the others comments stay, and what is not Layby's.

import { type Document, isMap, isSeq, LineCounter, parseDocument, type YAMLMap, type YAMLSeq } from 'yaml';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import { injectPod } from './pod.ts';
import type { Pod } from './pod-object.ts';
import type { InjectSettings } from './settings.ts';

/** Where the pod is in a document of this kind. */
const PODS: Record<string, readonly string[]> = {
  'v1/Pod': [],
  'v1/ReplicationController': ['spec', 'template'],
  'v1/PodTemplate': ['template'],
  'apps/v1/Deployment': ['spec', 'template'],
  'apps/v1/DaemonSet': ['spec', 'template'],
  'apps/v1/ReplicaSet': ['spec', 'template'],
  'apps/v1/StatefulSet': ['spec', 'template'],
  'batch/v1/Job': ['spec', 'template'],
  'batch/v1/CronJob': ['spec', 'jobTemplate', 'spec', 'template'],
};

interface Manifest {
  apiVersion?: string;
  kind?: string;
  metadata?: { name?: string; namespace?: string };
  items?: Manifest[];
}

export interface InjectedText {
  text: string;
  injected: string[];
  /** What has pods and got no sidecar, and why. */
  without: string[];
}

export interface InjectTextOptions {
  /** For messages. */
  file: string;
  /** Of documents that name none. */
  namespace: string;
  settings: InjectSettings;
}

type Step = string | number;

/** Documents begin at a line with `---`: in block scalars such a line is indented. */
const chunksOf = (text: string): string[] => text.split(/^(?=---(?:\s|$))/m);

/** Errors: LAYBY_INJECT_INVALID, with file and line; LAYBY_IDENTITY_INVALID. */
export function injectText(source: string, options: InjectTextOptions): InjectedText {
  const injected: string[] = [];
  const without: string[] = [];
  let line = 1;
  const chunks = chunksOf(source).map((chunk) => {
    const document = read(chunk, options.file, line);
    line += chunk.split('\n').length - 1;
    const value = document.toJS() as Manifest | null;
    let changed = false;
    for (const [manifest, at] of manifestsIn(value, [])) {
      const path = PODS[`${manifest.apiVersion}/${manifest.kind}`];
      if (!path) continue;
      const place = [...at, ...path];
      const name = `${manifest.kind} ${manifest.metadata?.name ?? 'without a name'}`;
      const before = (place.length > 0 ? document.getIn(place) : document.contents) as
        | { toJSON(): Pod }
        | undefined;
      const result = sidecarFor(name, before?.toJSON() ?? {}, manifest, options);
      if (result.without) {
        without.push(`${name}: ${result.without}`);
        continue;
      }
      injected.push(name);
      write(document, place, before?.toJSON(), result.pod);
      changed = true;
    }
    // Long lines stay whole.
    return changed ? document.toString({ lineWidth: 0 }) : chunk;
  });
  return { text: chunks.join(''), injected, without };
}

function sidecarFor(
  name: string,
  pod: Pod,
  manifest: Manifest,
  { file, namespace, settings }: InjectTextOptions,
) {
  try {
    return injectPod(pod, manifest.metadata?.namespace ?? namespace, settings);
  } catch (error) {
    if (!(error instanceof LaybyError)) throw error;
    throw new LaybyError(error.code, `${file}: ${name}: ${error.message}`, {
      ...(error.remedy !== undefined && { remedy: error.remedy }),
      cause: error,
    });
  }
}

function read(chunk: string, file: string, firstLine: number): Document.Parsed {
  const lines = new LineCounter();
  const document = parseDocument(chunk, { lineCounter: lines, prettyErrors: false });
  const [error] = document.errors;
  if (!error) return document;
  const { line, col } = lines.linePos(error.pos[0]);
  throw new LaybyError(
    'LAYBY_INJECT_INVALID',
    `${file}:${firstLine + line - 1}:${col}: ${messageOf(error)}`,
    { remedy: 'correct the YAML there' },
  );
}

/** A List's items, or the document itself; with the place of each. */
function manifestsIn(value: Manifest | null, at: readonly Step[]): [Manifest, readonly Step[]][] {
  if (value === null || typeof value !== 'object') return [];
  if (!value.kind?.endsWith('List') || !Array.isArray(value.items)) return [[value, at]];
  return value.items.flatMap((item, index) => manifestsIn(item, [...at, 'items', index]));
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Makes `after` of what stands at `path`, and touches only what differs. */
function write(document: Document, path: readonly Step[], before: unknown, after: unknown): void {
  if (JSON.stringify(before) === JSON.stringify(after)) return;
  const node = path.length > 0 ? document.getIn(path) : document.contents;
  if (isObject(before) && isObject(after) && isMap(node)) {
    for (const key of Object.keys(before)) if (!(key in after)) (node as YAMLMap).delete(key);
    for (const [key, value] of Object.entries(after)) write(document, [...path, key], before[key], value);
  } else if (Array.isArray(before) && Array.isArray(after) && isSeq(node)) {
    const items = [...(node as YAMLSeq).items];
    // What has the same name is the same thing, wherever it stands now; then what is in it is compared.
    const named = after.map((value) => before.findIndex((old) => sameName(old, value)));
    (node as YAMLSeq).items = named.map((old, index) =>
      old === -1 ? document.createNode(after[index]) : items[old],
    );
    for (const [index, old] of named.entries())
      if (old !== -1) write(document, [...path, index], before[old], after[index]);
  } else document.setIn(path, document.createNode(after));
}

const sameName = (one: unknown, other: unknown): boolean =>
  JSON.stringify(one) === JSON.stringify(other) ||
  (isObject(one) && isObject(other) && one.name !== undefined && one.name === other.name);
