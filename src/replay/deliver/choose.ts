// A try, by the strategy that fits the entry.

import type { Answer } from '../../egress/egress.ts';
import type { Destination } from '../../policy/policy.ts';
import type { EntryHead } from '../../store/store.ts';
import { messageOf } from '../../telemetry/error.ts';
import { oneLine } from '../../telemetry/one-line.ts';
import { textOf } from './answer-text.ts';
import type { Result, Strategy, Try } from './deliver.ts';
import { deliverByHttp, resultOf } from './http.ts';
import { deliverByIetf, isIetfBegun } from './ietf.ts';
import { isBegun } from './s3/begun.ts';
import { deliverInParts } from './s3/multipart.ts';
import { deliverToS3, resultOfS3 } from './s3/single.ts';
import { errorIn } from './s3/xml.ts';
import { decidedAt, type StrategyName, strategyFor } from './strategy.ts';
import { deliverByTus, isTusBegun } from './tus.ts';

const STRATEGIES: Readonly<Record<StrategyName, Strategy>> = {
  http: deliverByHttp,
  s3: deliverToS3,
  's3-multipart': deliverInParts,
  tus: deliverByTus,
  ietf: deliverByIetf,
};

/** Rejects as a strategy does. */
export async function deliver(attempt: Try): Promise<Result> {
  const { store, destination, entry, body, goodput, signal } = attempt;
  const progress = await store.progress(entry.id);
  const begun = isBegun(progress) || isTusBegun(progress) || isIetfBegun(progress);
  const known = { begun, rate: goodput.rate };
  if (!body.whole) {
    try {
      await body.reaches(decidedAt(destination, entry, known), signal);
    } catch (error) {
      return { kind: 'no-link', words: messageOf(error), moved: 0 };
    }
  }
  return shown(await STRATEGIES[strategyFor(destination, entry, body, known)](attempt));
}

/** Its words go into tables, logs and the audit trail. */
const shown = <Some extends Result>(result: Some): Some => ({ ...result, words: oneLine(result.words) });

/** The result of an answer whose request was sent elsewhere; it is read to its end. */
export async function resultOfAnswer(
  destination: Destination,
  entry: EntryHead,
  { status, headers, body }: Answer,
): Promise<Result> {
  const { text, whole } = await textOf(body);
  return shown(
    destination.upstream.sign?.aws.service === 's3'
      ? resultOfS3({ entry, destination }, { status, headers, text, whole, error: errorIn(text) })
      : resultOf(destination, entry, { status, headers, text }),
  );
}
