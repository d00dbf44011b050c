// Bodies that Envoy cannot send twice pass the queue also while online. It sends the body on and keeps what has come in a spool:
//
//   the destination answers  → the answer goes to the app, the spool is dropped
//   the way breaks, whenever → the spool goes into the store, the queue reads on, and the app gets a receipt
//   patience is over         → the spool goes into the store, the app gets a receipt, and the same upload goes on behind
//
// So the app sees one normal exchange, whatever the moment of the loss (law 7). Without patience the app is read as fast as the
// link takes its body. With patience it is read at the speed of the disk, and the upload follows through the spool; so patience is
// counted from the end of the body: before that nobody makes the app wait.

import { setTimeout as sleep } from 'node:timers/promises';
import type { UnderWay } from '../replay/follow.ts';
import { LaybyError } from '../telemetry/error.ts';
import type { Arrival } from './arrival.ts';
import type { ReadBody } from './body.ts';
import type { FollowedWriter } from './followed-writer.ts';
import { relayAnswer } from './relay-answer.ts';
import type { Spool } from './spool.ts';
import type { Through } from './through.ts';

export interface CutThrough {
  arrival: Arrival;
  /** Hands over the body as it is to be sent; the last piece may come late. */
  read: ReadBody;
  way: Through;
  spool: Spool;
  /** How long the app waits for the answer after its body, ms; undefined: as long as it takes. */
  patience: number | undefined;
  /** Asked once, where the way is lost, in words, or `late`: patience is over. */
  store: (why: { lost: string } | 'late') => Promise<FollowedWriter>;
}

/** What wants a commit: the writer has the whole body. */
export interface Kept {
  writer: FollowedWriter;
  /** Patience is over, and not the way: the upload goes on behind its app. */
  behind?: UnderWay;
}

/** undefined: the app has the destination's answer. Rejects with BodyTorn where the app went away, and with the errors of `read`
 *  and of the store; nothing is left of it then. */
export async function cutThrough(cut: CutThrough): Promise<Kept | undefined> {
  const { arrival, read, way, spool, patience, store } = cut;
  const { response } = arrival;
  let writer: FollowedWriter | undefined;
  let behind: UnderWay | undefined;
  const pour = async (why: { lost: string } | 'late'): Promise<FollowedWriter> => {
    const made = await store(why);
    writer = made;
    for await (const piece of spool.read()) await made.write(piece);
    return made;
  };
  const lost = async (why: string): Promise<FollowedWriter> => {
    const made = await pour({ lost: why });
    await spool.close();
    return made;
  };
  const take = (piece: Buffer): Promise<unknown> | undefined => {
    if (writer) return writer.write(piece);
    const { now } = way;
    if (now && 'broken' in now) return lost(now.broken).then((made) => made.write(piece));
    const spooled = spool.write(piece);
    const relayed = way.push(piece);
    return spooled && relayed ? Promise.all([spooled, relayed]) : (spooled ?? relayed);
  };
  try {
    await read(take);
    way.end();
    if (!(await endsWithin(way, patience))) {
      const made = await pour('late').catch(unlessFull);
      if (made && !way.now) {
        behind = { result: way.result(), abort: () => way.abort(), sent: () => way.moved };
        void way.sent.then(() => spool.close());
        return { writer: made, behind };
      }
      // The answer came while that was done; or the store has no room, and then the app has to wait after all.
      const sent = await way.sent;
      if (made && 'broken' in sent) return { writer: made };
      await writer?.abort();
      writer = undefined;
    }
    const sent = await way.sent;
    if (!('broken' in sent)) await relayAnswer(sent, response);
    else writer ??= await lost(sent.broken);
    return writer && { writer };
  } catch (error) {
    // Nothing may be sent as if it were whole: the connection to the egress listener is cut.
    way.abort();
    await way.sent;
    await writer?.abort();
    throw error;
  } finally {
    if (!behind) await spool.close();
  }
}

const unlessFull = (error: unknown): undefined => {
  if (!(error instanceof LaybyError) || error.code !== 'LAYBY_STORE_FULL') throw error;
};

/** false: patience is over before. */
async function endsWithin({ sent }: Through, patience: number | undefined): Promise<boolean> {
  if (patience === undefined) return true;
  const enough = new AbortController();
  const over = sleep(patience, false, { signal: enough.signal }).catch(() => false);
  const ended = await Promise.race([sent.then(() => true), over]);
  enough.abort();
  return ended;
}
