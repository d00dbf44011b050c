// The settings of injection as an operator writes them: a YAML file, in the chart a ConfigMap. What is left out is the default.

import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { nearMiss } from '../policy/near-miss.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import { choicesOf } from './choices.ts';
import { DEFAULT_SETTINGS, type InjectSettings } from './settings.ts';

const invalid = (what: string, remedy: string, cause?: unknown): LaybyError =>
  new LaybyError('LAYBY_INJECT_INVALID', what, { remedy, cause });

/** `what`: for messages. Errors: LAYBY_INJECT_INVALID, LAYBY_IDENTITY_INVALID. */
export function settingsOf(said: unknown, what: string): InjectSettings {
  if (typeof said !== 'object' || said === null || Array.isArray(said))
    throw invalid(`${what} are not names and values`, 'write them as YAML, like `image: layby-envoy:1`');
  const known = new Map<string, unknown>(Object.entries(DEFAULT_SETTINGS));
  for (const [name, value] of Object.entries(said)) {
    const otherwise = known.get(name);
    if (otherwise === undefined) {
      const near = nearMiss(name, known.keys());
      throw invalid(
        `${what}: there is no setting ${name}`,
        near ? `perhaps ${near} is meant` : `there are ${[...known.keys()].join(', ')}`,
      );
    }
    if (typeof value !== typeof otherwise)
      throw invalid(`${what}: ${name} is ${JSON.stringify(value)}`, `write a ${typeof otherwise}`);
  }
  const settings: InjectSettings = { ...DEFAULT_SETTINGS, ...said };
  // What an annotation may say is checked there; the same for what no pod overrides.
  choicesOf({}, 'default', settings);
  return settings;
}

/** Errors: LAYBY_INJECT_INVALID, LAYBY_IDENTITY_INVALID. */
export async function readSettings(path: string | undefined): Promise<InjectSettings> {
  if (path === undefined) return DEFAULT_SETTINGS;
  let said: unknown;
  try {
    said = parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw invalid(`the settings in ${path} cannot be read: ${messageOf(cause)}`, 'correct the file', cause);
  }
  return settingsOf(said ?? {}, `the settings in ${path}`);
}
