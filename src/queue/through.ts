// The ways on which a body goes on while it comes in: in one request, or to S3, which takes none of unknown length, as a multipart upload
// whose parts go as they fill. What becomes of the app meanwhile is for cut-through.ts.

import { Readable } from 'node:stream';
import type { Egress } from '../egress/egress.ts';
import type { Destination } from '../policy/policy.ts';
import { resultOfAnswer } from '../replay/deliver/choose.ts';
import type { Result } from '../replay/deliver/deliver.ts';
import type { Replay } from '../replay/replay.ts';
import type { EntryHead } from '../store/store.ts';
import { GrowingBody } from './growing-body.ts';
import { Relay } from './relay.ts';
import type { Spool } from './spool.ts';
import { Trail } from './trail.ts';
import { type Sent, Upload } from './upload.ts';

export interface Through {
  /** Never rejects. An answer before the end of the body also means that nobody takes pieces any more. */
  readonly sent: Promise<Sent>;
  /** The same, as far as it is known now. */
  readonly now: Sent | undefined;
  /** The same, for who knows the app no more. Reads the answer to its end. */
  result(): Promise<Result>;
  /** Bytes of the body that have left. */
  readonly moved: number;
  /** A piece that the spool has. Resolves when the next may come; undefined: at once. */
  push(piece: Buffer): Promise<void> | undefined;
  /** The body has come to its end. */
  end(): void;
  /** Nothing of what was sent may look whole to anybody. */
  abort(): void;
}

export interface ThroughOptions {
  egress: Egress;
  destination: Destination;
  head: EntryHead;
  /** Bytes in all, where the app said it. */
  expected: number | undefined;
  trailers: () => readonly string[];
  spool: Spool;
  /** The app is read at the speed of the disk, and not of the way. */
  behind: boolean;
  /** The head is whole only when the body has been read: it is sent then, and the body behind it, out of the spool. */
  headLast: boolean;
}

export function inOneRequest(options: ThroughOptions): Through {
  const { egress, destination, head, expected, trailers, spool, behind, headLast } = options;
  const trail = behind || headLast ? new Trail((start) => spool.read({ start })) : undefined;
  const relay = trail ?? new Relay();
  const body = { pieces: relay, trailers, ...(expected === undefined ? {} : { bytes: expected }) };
  const whole = headLast ? Promise.withResolvers<void>() : undefined;
  const upload = new Upload(egress, destination, head, body, whole?.promise);
  void upload.sent.then(() => relay.close());
  return {
    sent: upload.sent,
    get now() {
      return upload.now;
    },
    get moved() {
      return trail?.sent ?? 0;
    },
    result: async () => {
      const sent = await upload.sent;
      return 'broken' in sent
        ? { kind: 'no-link', words: sent.broken, moved: trail?.sent ?? 0 }
        : resultOfAnswer(destination, sent);
    },
    push: (piece) => relay.push(piece),
    end: () => {
      relay.end();
      whole?.resolve();
    },
    abort: () => {
      relay.close();
      upload.abort();
      whole?.resolve();
    },
  };
}

export function inParts(options: ThroughOptions, deliverNow: Replay['deliverNow']): Through {
  const { destination, head, expected, trailers, spool, behind } = options;
  const body = new GrowingBody(spool, expected);
  const end = new AbortController();
  let moved = 0;
  const count = (bytes: number): void => {
    moved += bytes;
    body.took(bytes);
  };
  const result = deliverNow(destination, head, body, { signal: end.signal, moved: count }).catch(
    (error: Error): Result => ({ kind: 'no-link', words: error.message, moved: 0 }),
  );
  const sent = result.then(sentOf);
  let now: Sent | undefined;
  void sent.then((known) => {
    now = known;
    body.abandon();
  });
  return {
    sent,
    get now() {
      return now;
    },
    get moved() {
      return moved;
    },
    result: () => result,
    push: () => {
      body.grew();
      return behind ? undefined : body.room();
    },
    end: () => body.end(trailers()),
    abort: () => end.abort(),
  };
}

/** What S3 may take later, it gets later: the app could not bring its body again. */
function sentOf(result: Result): Sent {
  if (result.kind === 'no-link') return { broken: result.words };
  const { status, outcome, words, answer } = result;
  if (outcome === 'retry' || !answer) return { broken: `not taken yet: ${status} ${words}` };
  const headers = answer.headers.filter((_, at, all) => !/^content-length$/i.test(all[at - (at % 2)]!));
  return {
    status,
    headers: [...headers, 'content-length', String(answer.body.length)],
    body: Readable.from([answer.body], { objectMode: true }),
  };
}
