// Where rclone is, which serves a directory as S3 (s3-server.ts).

import { LaybyError } from '../telemetry/error.ts';
import { answerOf, onPath } from './executable.ts';
import { type FetchOptions, fetchPart } from './fetch.ts';
import { LOCK } from './lock.ts';

/** The first with `serve s3`. */
const OLDEST = { major: 1, minor: 65 };

const servesS3 = async (path: string, env: NodeJS.ProcessEnv): Promise<boolean> => {
  const found = /^rclone v(\d+)\.(\d+)/m.exec((await answerOf(path, ['version'], env)) ?? '');
  if (!found) return false;
  const major = Number(found[1]);
  return major > OLDEST.major || (major === OLDEST.major && Number(found[2]) >= OLDEST.minor);
};

/** The path of an rclone that has `serve s3`: $RCLONE, else `rclone` on PATH if it is 1.65 or later, else the cache, else fetched.
 *  Rejects with LAYBY_RCLONE_NOT_FOUND where $RCLONE is not an executable file, and what fetchPart says. */
export const findRclone = async (options: FetchOptions = {}): Promise<string> => {
  const env = options.env ?? process.env;
  if (env.RCLONE) {
    const path = await onPath(env.RCLONE, env);
    if (path) return path;
    throw new LaybyError(
      'LAYBY_RCLONE_NOT_FOUND',
      `RCLONE names ${env.RCLONE}, which is no executable file`,
      {
        remedy: 'name an rclone program, or none: then Layby looks on PATH and fetches one',
      },
    );
  }
  const installed = await onPath('rclone', env);
  if (installed && (await servesS3(installed, env))) return installed;
  const orElse = `set RCLONE to an rclone of ${OLDEST.major}.${OLDEST.minor} or later`;
  return fetchPart({ ...options, part: options.part ?? LOCK.rclone, orElse });
};
