// A request that may be stored: it is cut through where the way is free, else spooled and committed; then comes the receipt. Which of
// those it may be is for replay/order-gate.ts, as far as order goes. A stream that is to be cut into several entries is for segments.ts.

import type { Destination } from '../policy/policy.ts';
import { signsBody } from '../policy/signature.ts';
import { isPutObject } from '../replay/deliver/strategy.ts';
import type { UnderWay } from '../replay/follow.ts';
import type { Entry, EntryHead } from '../store/store.ts';
import { LaybyError } from '../telemetry/error.ts';
import { type Arrival, headOf, type Outcome, requestId, type Surroundings } from './arrival.ts';
import type { Storing } from './backlog.ts';
import { cutThrough, type Kept } from './cut-through.ts';
import type { Filing } from './filing.ts';
import { FollowedWriter } from './followed-writer.ts';
import { preferenceOf } from './prefer.ts';
import { readBody } from './read-body.ts';
import { RECEIPTS, receiptFor } from './receipts/receipt.ts';
import { storeSegments } from './segments.ts';
import { multipartUpload, singleUpload } from './streaming-upload.ts';

const asItStands = (around: Surroundings, arrival: Arrival): Filing => {
  const { request, destination, expected } = arrival;
  const kind = receiptFor(destination, request);
  return {
    head: headOf(arrival),
    expected,
    read: (onChunk) => readBody(arrival, onChunk),
    online: mayPass(around, arrival),
    md5: kind === 's3',
    receipt: RECEIPTS[kind],
  };
};

/** Rejects with ClientDisconnected, and with the errors of `filing.read` and of the store: nothing was stored then. */
export async function storeRequest(
  around: Surroundings,
  arrival: Arrival,
  filing: Filing = asItStands(around, arrival),
): Promise<Outcome> {
  const { backlog, ledgers } = around;
  const { destination, failedOver } = arrival;
  const { stream } = destination.store;
  if (stream && filing.expected === undefined) return storeSegments(around, arrival, filing, stream.segment);
  const over = filing.online ? await takeTurn(around, arrival, filing.head.orderKey) : undefined;
  if (over) return goThrough(around, arrival, filing, over);
  // Said before the body is read, so that the hold is in force by the time the receipt is due.
  const storing = backlog.storing(destination.name, failedOver);
  const stored = ledgers.of(destination.name).gate.commit(filing.head.orderKey);
  return keep(around, arrival, filing, storing).finally(() => {
    stored();
    storing.done();
  });
}

async function keep(
  around: Surroundings,
  arrival: Arrival,
  filing: Filing,
  storing: Storing,
): Promise<Outcome> {
  const { read } = filing;
  let writer: FollowedWriter | undefined;
  try {
    const began = await begin(around, arrival, filing);
    writer = began;
    await read((piece) => began.write(piece));
    return await commit(around, arrival, filing, began, storing);
  } catch (error) {
    await writer?.abort();
    const again = await storedBefore(around, arrival, error);
    if (!again) throw error;
    return giveReceipt(arrival, filing, again, storing);
  }
}

/** A place in the store for the body; replay may send it as it grows, unless it is `underWay` already. */
async function begin(
  around: Surroundings,
  { destination, signal }: Arrival,
  { head, expected, md5 }: Filing,
  underWay = false,
): Promise<FollowedWriter> {
  const { replay, room } = around;
  const writer = await room.begin(destination, head, expected, { md5, owned: true, signal });
  return new FollowedWriter(writer, expected, {
    follow: (body) =>
      underWay
        ? undefined
        : replay.follow({ head, body, isItsTurn: () => mayFollow(around, destination, head) }),
    remind: () => replay.wake(destination.name),
    grows: () => replay.grows(head.id),
  });
}

/** `over`: ends its turn. */
async function goThrough(
  around: Surroundings,
  arrival: Arrival,
  filing: Filing,
  over: () => void,
): Promise<Outcome> {
  const { backlog, ledgers, egress, log, spools, replay } = around;
  const { request, destination } = arrival;
  const { name } = destination;
  const { head, expected, read, headLast = false } = filing;
  const patience = preferenceOf(request).wait ?? destination.store.patience;
  const parts = expected === undefined && destination.upstream.sign !== undefined;
  // What S3 has of it is not taken back while it may still be needed.
  const grown = parts ? replay.grows(head.id) : undefined;
  let storing: Storing | undefined;
  let kept: Kept | undefined;
  let behind: Promise<void> | undefined;
  const pending = (lost: boolean): Storing => {
    storing ??= backlog.storing(name, lost);
    return storing;
  };
  let turn = over;
  const store = (why: { lost: string } | 'late'): Promise<FollowedWriter> => {
    if (why === 'late') log.info({ id: head.id, destination: name }, 'patience is over');
    else log.info({ id: head.id, destination: name, why: why.lost }, 'lost in the middle');
    pending(why !== 'late');
    if (why !== 'late') {
      // From here on it is stored, and what has a receipt by now need not wait for it.
      turn = ledgers.of(name).gate.commit(head.orderKey);
      over();
    }
    return begin(around, arrival, filing, why === 'late');
  };
  try {
    const spool = spools.begin();
    const options = {
      ...{ egress, destination, head, expected, spool, background: patience !== undefined },
      // What is signed whole is held whole by the sidecar, and not for as long as an app takes to bring it.
      headLast: headLast || signsBody(destination),
      newConnection: arrival.wasReset,
      trailers: () => request.rawTrailers,
    };
    const upload = parts
      ? multipartUpload(options, (...of) => replay.deliverNow(...of))
      : singleUpload(options);
    kept = await cutThrough({ arrival, read, upload, spool, patience, store });
    if (!kept) {
      if (arrival.response.statusCode < 300) replay.tookOther(name);
      return 'cut_through';
    }
    if (!kept.background) return await commit(around, arrival, filing, kept.writer, pending(true));
    await pending(false).marked();
    const left = await leaveBehind(around, kept.writer, kept.background, request.rawTrailers);
    behind = left.over;
    return await giveReceipt(arrival, filing, left.entry, pending(false));
  } catch (error) {
    await kept?.writer.abort();
    const again = await storedBefore(around, arrival, error);
    if (!again) throw error;
    return await giveReceipt(arrival, filing, again, pending(false));
  } finally {
    if (behind) void behind.finally(turn);
    else turn();
    grown?.();
    storing?.done();
  }
}

/** Commits what is on its way, and hands it over to replay. `over` resolves when it has left, or waits for its next try. */
async function leaveBehind(
  { store, ledgers, replay, log }: Surroundings,
  writer: FollowedWriter,
  upload: UnderWay,
  trailers: string[],
): Promise<{ entry: Entry; over: Promise<void> }> {
  const { id, destination, orderKey } = writer.head;
  const ledger = ledgers.of(destination);
  // With strict order it had no turn of its own: until now everything that came was stored behind whatever waits.
  const over = ledger.gate.enter(orderKey);
  let lease = upload.lease;
  try {
    // Before it can be seen: replay would send it as well.
    lease ??= ledger.claim(id, performance.now());
    const entry = await writer.commit(trailers);
    writer.goOn(entry, store);
    const adopted = replay
      .adopt(entry, upload, lease)
      .catch((error) => log.error({ err: error, id }, 'an upload behind could not be followed'))
      .finally(over);
    return { entry, over: adopted };
  } catch (error) {
    upload.abort();
    if (lease) ledger.release(lease, 'left');
    over();
    throw error;
  }
}

async function commit(
  around: Surroundings,
  arrival: Arrival,
  filing: Filing,
  writer: FollowedWriter,
  storing: Storing,
): Promise<Outcome> {
  const { rawTrailers } = arrival.request;
  const { committing = (write) => write() } = filing;
  await storing.marked();
  const upload = writer.handOver();
  const write = upload
    ? async () => (await leaveBehind(around, writer, upload, rawTrailers)).entry
    : () => writer.commit(rawTrailers);
  const entry = await committing(write).catch((refused) => {
    upload?.abort();
    throw refused;
  });
  return giveReceipt(arrival, filing, entry, storing);
}

async function giveReceipt(
  { response }: Arrival,
  { receipt }: Filing,
  entry: Entry,
  storing: Storing,
): Promise<Outcome> {
  await storing.held();
  receipt(response, entry);
  return 'receipt';
}

/** The queue died between the commit and the receipt, and the sidecar asks again: it is owed the receipt, not a second entry. */
export async function storedBefore(
  { store }: Pick<Surroundings, 'store'>,
  arrival: Arrival,
  error: unknown,
): Promise<Entry | undefined> {
  const id = requestId(arrival.request);
  if (!id || !(error instanceof LaybyError) || error.code !== 'LAYBY_ENTRY_EXISTS') return undefined;
  await readBody(arrival, () => undefined);
  return store.get(id);
}

/** A function that ends its turn, where the way is free for it: see replay/order-gate.ts. */
async function takeTurn(
  around: Surroundings,
  arrival: Arrival,
  orderKey: string,
): Promise<(() => void) | undefined> {
  const { backlog, former, ledgers } = around;
  const { destination, url } = arrival;
  const { name } = destination;
  if (orderKey === '') return () => {};
  const waits = backlog.isPending(name);
  if (destination.store.order === 'strict') return waits ? undefined : () => {};
  const { gate } = ledgers.of(name);
  if (waits && !gate.isFree(orderKey)) return undefined;
  const over = gate.enter(orderKey);
  // What may have changed while the store was asked is asked again.
  if (!waits || ((await isFree(former, name, url)) && mayPass(around, arrival))) return over;
  over();
  return undefined;
}

/** It may be sent while it is stored: nothing stands before it. That something newer is sent meanwhile does no harm, since the two overlap at
 *  their apps. */
async function mayFollow(
  { former, store, ledgers }: Surroundings,
  { name, store: { order } }: Destination,
  { orderKey, url }: EntryHead,
): Promise<boolean> {
  if (orderKey === '') return true;
  if (!ledgers.of(name).gate.maySend(orderKey)) return false;
  if (order !== 'strict') return isFree(former, name, url);
  return (store.totals().get(name)?.entries ?? 0) === 0 && former.of(name).length === 0;
}

/** What cannot be asked may well wait. */
const isFree = async (former: Surroundings['former'], destination: string, url: string): Promise<boolean> => {
  try {
    return !(await former.occupied(destination, url));
  } catch {
    return false;
  }
};

/** It may be cut through, as far as way, policy and app go; whether it is its turn is another matter. */
export function mayPass(around: Surroundings, arrival: Arrival): boolean {
  const { respondAsync, wait = 0 } = preferenceOf(arrival.request);
  // Sent behind, from the store, like everything else that nobody waits for.
  if (respondAsync && wait === 0) return false;
  return arrival.destination.store.mode === 'failover' && mayReach(around, arrival);
}

/** The link may be there, and the destination can take the body as it comes. */
export function mayReach(
  { backlog, linkUp }: Surroundings,
  { destination, failedOver, expected, request, url }: Arrival,
): boolean {
  const { name, upstream } = destination;
  if (failedOver || !linkUp(name) || backlog.isFailing(name)) return false;
  // S3 takes no body of unknown length (411), but an object in parts.
  if (upstream.sign === undefined || expected !== undefined) return true;
  const { method = '', rawHeaders: headers } = request;
  return upstream.sign.aws.service === 's3' && isPutObject({ method, url, headers });
}
