// Bodies that Envoy cannot send twice pass the queue also while online. It sends the body on and keeps what has come in a spool:
//
//   the destination answers  → the answer goes to the app, the spool is dropped
//   … with a refusal, early  → the same, at once: what is left of the body is neither sent nor kept
//   the way breaks, whenever → the spool goes into the store, the queue reads on, and the app gets a receipt
//   patience is over         → the spool goes into the store, the app gets a receipt, and the same upload goes on behind
//   the app hangs up         → the upload is aborted, and nothing is kept
//
// So the app sees one normal exchange, whatever the moment of the loss (law 7). Without patience the app is read as fast as the
// link takes its body. With patience it is read at the speed of the disk, and the upload follows through the spool; so patience is
// counted from the end of the body: before that nobody makes the app wait.

import { setTimeout as sleep } from 'node:timers/promises';
import { timerMs } from '../platform/timer.ts';
import type { UnderWay } from '../replay/follow.ts';
import { LaybyError } from '../telemetry/error.ts';
import type { Arrival } from './arrival.ts';
import type { FollowedWriter } from './followed-writer.ts';
import type { OnChunk, ReadBody } from './read-body.ts';
import { relayResponse } from './relay-response.ts';
import type { Spool } from './spool.ts';
import type { StreamingUpload } from './streaming-upload.ts';
import { beforeTheEnd, isRefusal } from './upstream-request.ts';

export interface CutThrough {
  arrival: Arrival;
  /** Passes the body as it is to be sent; the last chunk may come late. */
  read: ReadBody;
  upload: StreamingUpload;
  spool: Spool;
  /** How long the client waits for the answer after its body, ms; undefined: as long as it takes. */
  patience: number | undefined;
  /** Called to switch to storing: the upload is lost, for this reason, or `late`: the deadline has passed. */
  store: (why: { lost: string } | 'late') => Promise<FollowedWriter>;
}

/** What wants a commit: the writer has the whole body. */
export interface Kept {
  writer: FollowedWriter;
  /** The deadline has passed, and the upload is not lost: it goes on when the client has its receipt. */
  background?: UnderWay;
}

/** undefined: the client has the destination's answer. Rejects with ClientDisconnected, and with the errors of `read` and of the store;
 *  nothing is left of it then. From the moment it resolves with something to commit the client's hanging up ends nothing. */
export async function cutThrough(cut: CutThrough): Promise<Kept | undefined> {
  const { arrival, read, upload, spool, patience, store } = cut;
  const { response, signal } = arrival;
  let writer: FollowedWriter | undefined;
  let background: UnderWay | undefined;
  const abort = (): void => upload.abort();
  const pour = async (why: { lost: string } | 'late'): Promise<FollowedWriter> => {
    signal.throwIfAborted();
    const made = await store(why);
    writer = made;
    for await (const chunk of spool.read()) {
      signal.throwIfAborted();
      await made.write(chunk);
    }
    return made;
  };
  const lost = async (why: string): Promise<FollowedWriter> => {
    const made = await pour({ lost: why });
    await spool.close();
    return made;
  };
  const onChunk: OnChunk = (chunk) => {
    if (writer) return writer.write(chunk);
    const { now } = upload;
    if (now && 'broken' in now) return lost(now.broken).then((made) => made.write(chunk));
    if (isRefusal(now)) return undefined;
    const spooled = spool.write(chunk);
    const relayed = upload.push(chunk);
    return spooled && relayed ? Promise.all([spooled, relayed]) : (spooled ?? relayed);
  };
  signal.addEventListener('abort', abort);
  try {
    const refusal = await beforeTheEnd(read(onChunk), upload.sent, isRefusal);
    if (refusal) {
      await spool.close();
      signal.throwIfAborted();
      await relayResponse(refusal, response, signal);
      upload.abort();
      return undefined;
    }
    upload.end();
    if (!(await endsWithin(upload, patience))) {
      const made = await pour('late').catch(unlessFull);
      signal.throwIfAborted();
      if (made && !upload.now) {
        background = { result: upload.result(), abort, sent: () => upload.moved };
        void upload.sent.then(() => spool.close());
        return { writer: made, background };
      }
      // The answer came while that was done; or the store has no room, and then the client has to wait after all.
      const sent = await upload.sent;
      signal.throwIfAborted();
      if (made && 'broken' in sent) return { writer: made };
      await writer?.abort();
      writer = undefined;
    }
    const sent = await upload.sent;
    signal.throwIfAborted();
    if (!('broken' in sent)) await relayResponse(sent, response, signal);
    else writer ??= await lost(sent.broken);
    return writer && { writer };
  } catch (error) {
    // Nothing may be sent as if it were whole: the connection to the egress listener is cut.
    upload.abort();
    await upload.sent;
    await writer?.abort();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    if (!background) await spool.close();
  }
}

const unlessFull = (error: unknown): undefined => {
  if (!(error instanceof LaybyError) || error.code !== 'LAYBY_STORE_FULL') throw error;
};

/** false: the deadline passes first. */
async function endsWithin({ sent }: StreamingUpload, patience: number | undefined): Promise<boolean> {
  if (patience === undefined) return true;
  const enough = new AbortController();
  const over = sleep(timerMs(patience), false, { signal: enough.signal }).catch(() => false);
  const ended = await Promise.race([sent.then(() => true), over]);
  enough.abort();
  return ended;
}
