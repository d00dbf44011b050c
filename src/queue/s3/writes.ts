// Conditions of a write without a link (`If-None-Match: *`, `If-Match`): judged against what waits for the object, as S3 would when all of
// that has arrived; where nothing waits, S3 is left to say it, when the request is sent. So commits of one object go one by one:
// of two that both want to create it, the second finds the first.

import { resourceOf } from '../../store/resource.ts';
import type { Surroundings } from '../arrival.ts';
import { type Current, verdictOn } from '../conditions.ts';
import { etagOf } from '../stored-answer.ts';
import { preconditionFailed, refuse } from './answer.ts';
import type { S3Arrival } from './filing.ts';
import { lastOf } from './pending.ts';

/** Commits, by `commit`, what becomes the object at `url`, as `id`. Rejects with S3Refused where S3 would refuse it, and as `commit`
 *  does. */
export const commitWrite = <T>(
  around: Pick<Surroundings, 'commits' | 'former'>,
  arrival: S3Arrival,
  id: string,
  commit: () => Promise<T>,
): Promise<T> => {
  const [url = ''] = arrival.url.split('?', 1);
  const name = `${arrival.destination.name} ${resourceOf(url)}`;
  return around.commits.run(name, async () => {
    await judge(around, arrival, url, id);
    return commit();
  });
};

/** A deletion with a condition, behind another deletion that waits: S3 says that all is well where there is nothing to delete. It is not
 *  stored, since not all servers do, and a dead letter would be made of nothing. */
export const isDeletedAlready = async (
  { former }: Pick<Surroundings, 'former'>,
  { request, destination, s3, url }: S3Arrival,
): Promise<boolean> =>
  s3.operation === 'DeleteObject' &&
  request.headers['if-match'] !== undefined &&
  (await lastOf(former, destination, url.split('?', 1)[0]!))?.effect === 'delete';

const judge = async (
  { former }: Pick<Surroundings, 'former'>,
  { request, destination }: S3Arrival,
  url: string,
  id: string,
): Promise<void> => {
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = request.headers;
  if (ifMatch === undefined && ifNoneMatch === undefined) return;
  const last = await lastOf(former, destination, url);
  // Its own: the sidecar asks again, since the queue died before the receipt.
  if (!last || last.entry.id === id) return;
  const { effect, entry } = last;
  const gone = effect === 'delete';
  if (gone && ifMatch !== undefined) throw refuse(404, 'NoSuchKey', 'The specified key does not exist.');
  const current: Current | undefined = gone
    ? undefined
    : { etag: effect === 'put' ? etagOf(entry) : undefined };
  // No dates: when S3 will say that it was changed, nobody knows.
  const asked = {
    ...(ifMatch === undefined ? {} : { 'if-match': ifMatch }),
    ...(ifNoneMatch === undefined ? {} : { 'if-none-match': ifNoneMatch }),
  };
  if (verdictOn(asked, current, false) !== 'go') throw preconditionFailed();
};
