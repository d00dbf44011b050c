import { envoyProblems } from '../embedded/check-policy.ts';
import { envoyHere, findEnvoy } from '../parts/envoy.ts';
import { PolicyError, parsePolicy } from '../policy/parse.ts';
import type { Destination, Policy } from '../policy/policy.ts';
import type { PolicyProblem } from '../policy/problem.ts';
import { readPolicyFiles } from '../policy/sources/files.ts';

export interface CheckOptions {
  json?: boolean;
  /** A path, or false. */
  envoy?: string | boolean;
}

export async function check(paths: string[], { json, envoy }: CheckOptions): Promise<void> {
  const files = await readPolicyFiles(paths);
  let policy: Omit<Policy, 'version'> = { destinations: [] };
  let problems: readonly PolicyProblem[] = [];
  let asked: string | undefined;
  try {
    policy = parsePolicy(files);
    asked = await envoyFor(policy.destinations, envoy);
    if (asked) problems = await envoyProblems(asked, policy.destinations, files);
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    problems = error.problems;
  }
  if (json) {
    console.log(JSON.stringify({ ok: problems.length === 0, envoy: asked ?? null, problems }, undefined, 2));
    if (problems.length > 0) process.exitCode = 1;
    return;
  }
  if (problems.length > 0) throw new PolicyError(problems);
  const words = asked ? 'and Envoy takes them' : 'Envoy was not asked';
  const { destinations, services = [], passthrough } = policy;
  const what = [
    ...(destinations.length > 0 ? [count(destinations.length, 'destination')] : []),
    ...(services.length > 0 ? [count(services.length, 'service')] : []),
    ...(passthrough ? [`passthrough: ${passthrough}`] : []),
  ];
  console.log(
    `${what.join(' and ') || 'nothing that can be called'} in ${count(files.length, 'file')}: right, ${words}`,
  );
}

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

/** Fetched only where there is something in its own words to be judged. */
async function envoyFor(
  destinations: readonly Destination[],
  envoy: string | boolean | undefined,
): Promise<string | undefined> {
  if (envoy === false) return undefined;
  const options = {
    path: typeof envoy === 'string' ? envoy : undefined,
    onFetch: (name: string) => console.error(`layby: fetching ${name} (once)`),
  };
  return destinations.some((each) => each.envoy) ? findEnvoy(options) : envoyHere(options);
}
