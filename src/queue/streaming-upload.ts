// Uploads that send a body on while it comes in: in one request, or to S3, which takes none of unknown length, as a multipart upload
// whose parts go as they fill. What becomes of the client meanwhile is for cut-through.ts.

import { Readable } from 'node:stream';
import type { Egress } from '../egress/egress.ts';
import type { Destination } from '../policy/policy.ts';
import { resultOfAnswer } from '../replay/deliver/choose.ts';
import type { Result } from '../replay/deliver/deliver.ts';
import type { Replay } from '../replay/replay.ts';
import type { EntryHead } from '../store/store.ts';
import { BoundedChannel } from './bounded-channel.ts';
import type { Spool } from './spool.ts';
import { SpoolTail } from './spool-tail.ts';
import { StreamingBody } from './streaming-body.ts';
import { isUnwanted, UpstreamRequest, type UpstreamResult } from './upstream-request.ts';

export interface StreamingUpload {
  /** Never rejects. After a refusal (see isRefusal) nobody takes chunks any more. */
  readonly sent: Promise<UpstreamResult>;
  /** The same, as far as it is known now. */
  readonly now: UpstreamResult | undefined;
  /** Like `sent`, for callers that outlive the client. Consumes the response body. */
  result(): Promise<Result>;
  /** Bytes of the body that have left, where that is counted. */
  readonly moved: number;
  /** A chunk that the spool has. Resolves when the next may come; undefined: at once. */
  push(chunk: Buffer): Promise<void> | undefined;
  /** The body has come to its end. */
  end(): void;
  /** Nothing of what was sent may look whole to anybody. `sent` resolves soon afterwards. */
  abort(): void;
}

export interface StreamingUploadOptions {
  egress: Pick<Egress, 'send'>;
  destination: Destination;
  head: EntryHead;
  /** Bytes in all, where the app said it. */
  expected: number | undefined;
  trailers: () => readonly string[];
  spool: Spool;
  /** The client is read at the speed of the disk, and not of the upload. */
  background: boolean;
  /** The head is whole only when the body has been read: it is sent then, and the body behind it, out of the spool. */
  headLast: boolean;
  /** The connection to the destination must be a new one. */
  newConnection: boolean;
}

/** In one request. */
export function singleUpload(options: StreamingUploadOptions): StreamingUpload {
  const { egress, destination, head, expected, trailers, spool, background, headLast, newConnection } =
    options;
  const { chunks, push, end, close, moved } =
    background || headLast ? throughSpool(spool, expected, trailers) : throughMemory();
  const body = { pieces: chunks, trailers, ...(expected === undefined ? {} : { bytes: expected }) };
  const whole = headLast ? Promise.withResolvers<void>() : undefined;
  const upstream = new UpstreamRequest(egress, destination, head, body, {
    ready: whole?.promise,
    newConnection,
  });
  // After a success, which may come before all of the body is read, the reader closes it.
  void upstream.sent.then((sent) => isUnwanted(sent) && close());
  return {
    sent: upstream.sent,
    get now() {
      return upstream.now;
    },
    get moved() {
      return moved();
    },
    result: async () => {
      const sent = await upstream.sent;
      return 'broken' in sent
        ? { kind: 'no-link', words: sent.broken, moved: moved() }
        : resultOfAnswer(destination, head, sent);
    },
    push,
    end: () => {
      end();
      whole?.resolve();
    },
    abort: () => {
      close();
      upstream.abort();
      whole?.resolve();
    },
  };
}

/** From the client to the upstream request. */
interface Link {
  chunks: AsyncIterable<Buffer>;
  push: StreamingUpload['push'];
  end: () => void;
  /** Nobody reads any more. */
  close: () => void;
  /** Bytes that have left, where that is counted. */
  moved: () => number;
}

function throughMemory(): Link {
  const channel = new BoundedChannel();
  return {
    chunks: channel,
    push: (chunk) => channel.push(chunk),
    end: () => channel.end(),
    close: () => channel.close(),
    moved: () => 0,
  };
}

function throughSpool(spool: Spool, expected: number | undefined, trailers: () => readonly string[]): Link {
  const body = new StreamingBody(spool, expected);
  const closed = new AbortController();
  const tail = new SpoolTail(body, closed.signal);
  return {
    chunks: tail,
    push: (chunk) => {
      tail.offer(chunk);
      return undefined;
    },
    end: () => body.end(trailers()),
    close: () => closed.abort(new Error('the request was given up')),
    moved: () => tail.sent,
  };
}

/** To S3, as parts. */
export function multipartUpload(
  options: StreamingUploadOptions,
  deliverNow: Replay['deliverNow'],
): StreamingUpload {
  const { destination, head, expected, trailers, spool, background } = options;
  const body = new StreamingBody(spool, expected);
  const end = new AbortController();
  let moved = 0;
  const count = (bytes: number): void => {
    moved += bytes;
    body.consumed(bytes);
  };
  const result = deliverNow(destination, head, body, { signal: end.signal, moved: count }).catch(
    (error: Error): Result => ({ kind: 'no-link', words: error.message, moved: 0 }),
  );
  const sent = result.then(resultFor);
  let now: UpstreamResult | undefined;
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
      return background ? undefined : body.room();
    },
    end: () => body.end(trailers()),
    abort: () => {
      body.abandon();
      end.abort();
    },
  };
}

/** What S3 may take later, it gets later: the client could not bring its body again. */
function resultFor(result: Result): UpstreamResult {
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
