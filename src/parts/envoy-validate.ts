// Envoy's own word on a configuration, without running it.

import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LaybyError } from '../telemetry/error.ts';

/** It takes well under a second; ms. */
const PATIENCE_MS = 30_000;
/** Of what it says, characters. */
const LONGEST = 2_000;

/** What Envoy has against it, in its words; undefined: it takes it. `config`: a bootstrap in Envoy's JSON. Errors:
 *  LAYBY_ENVOY_SILENT. */
export async function envoyRefusal(envoy: string, config: object): Promise<string | undefined> {
  const dir = await mkdtemp(join(tmpdir(), 'layby-validate-'));
  try {
    const file = join(dir, 'envoy.json');
    await writeFile(file, JSON.stringify(config), { mode: 0o600 });
    const args = ['--mode', 'validate', '-c', file, '--log-level', 'critical', '--log-format', '%v'];
    return await new Promise((resolve, reject) => {
      execFile(
        envoy,
        args,
        { timeout: PATIENCE_MS, maxBuffer: 16 * 1024 * 1024 },
        (error, stdout, stderr) => {
          if (!error) resolve(undefined);
          else if (typeof error.code !== 'number') reject(silent(envoy, error));
          else resolve(wordsOf(stderr || stdout, file));
        },
      );
    });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

const silent = (envoy: string, cause: Error): LaybyError =>
  new LaybyError('LAYBY_ENVOY_SILENT', `${envoy} could not judge the policy: ${cause.message}`, {
    remedy: 'name another with --envoy, or leave Envoy out with --no-envoy',
    cause,
  });

/** Its reason alone: not the name of the file, which is ours, and not the dump of the message, which comes before the reason. */
const wordsOf = (text: string, file: string): string => {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const told = /goo\.gle\/debug/.test(text) ? lines.slice(-1) : lines;
  return told
    .join(' ')
    .replaceAll(file, '')
    .replace(/^(error initializing configuration '')?[: ]*/, '')
    .slice(0, LONGEST);
};
