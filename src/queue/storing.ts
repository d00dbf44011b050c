// A request that may be stored: it is cut through where the way is free, else spooled and committed; then comes the receipt.

import type { IncomingMessage } from 'node:http';
import type { Entry, EntryHead, EntryWriter } from '../store/store.ts';
import { LaybyError } from '../telemetry/error.ts';
import { type Arrival, headOf, type Outcome, requestId, type Surroundings } from './arrival.ts';
import { type ReadBody, readBody } from './body.ts';
import { cutThrough } from './cut-through.ts';
import { RECEIPTS, type Receipt, receiptFor } from './receipts/receipt.ts';

/** How a request is stored, for a room that knows it better than its method and headers say. */
export interface Filing {
  head: EntryHead;
  /** Body length, bytes, where it is known. */
  expected: number | undefined;
  read: ReadBody;
  /** Cut through. */
  online: boolean;
  md5: boolean;
  receipt: Receipt;
}

const asItStands = (around: Surroundings, arrival: Arrival): Filing => {
  const { request, destination, expected } = arrival;
  const kind = receiptFor(destination, request);
  return {
    head: headOf(arrival),
    expected,
    read: (take) => readBody(request, take),
    online: mayPass(around, arrival),
    md5: kind === 's3',
    receipt: RECEIPTS[kind],
  };
};

/** Rejects with BodyTorn, and with the errors of `filing.read` and of the store: nothing was stored then. */
export async function storeRequest(
  around: Surroundings,
  arrival: Arrival,
  filing: Filing = asItStands(around, arrival),
): Promise<Outcome> {
  const { room, backlog, egress, log, spools } = around;
  const { request, response, destination, failedOver } = arrival;
  const { name } = destination;
  const { head, expected, read, online, md5, receipt } = filing;
  // Said before the body is read, so that the hold is in force by the time the receipt is due.
  const storing = online ? undefined : backlog.storing(name, failedOver);
  let writer: EntryWriter | undefined;
  let after = storing;
  const begin = () => room.begin(destination, head, expected, { md5, owned: true });
  try {
    if (online) {
      const store = (why: string): Promise<EntryWriter> => {
        log.info({ id: head.id, destination: name, why }, 'lost in the middle');
        after = backlog.storing(name, true);
        return begin();
      };
      writer = await cutThrough({ arrival, head, read, expected, egress, spool: spools.begin(), store });
      if (!writer) return 'cut_through';
    } else {
      const spool = await begin();
      writer = spool;
      await read((piece) => spool.write(piece));
    }
    const entry = await writer.commit(request.rawTrailers);
    await after!.held();
    receipt(response, entry);
    return 'receipt';
  } catch (error) {
    await writer?.abort();
    const again = await storedBefore(around, request, error);
    if (!again) throw error;
    await after?.held();
    receipt(response, again);
    return 'receipt';
  } finally {
    after?.done();
  }
}

/** The queue died between the commit and the receipt, and the sidecar asks again: it is owed the receipt, not a second entry. */
export async function storedBefore(
  { store }: Surroundings,
  request: IncomingMessage,
  error: unknown,
): Promise<Entry | undefined> {
  const id = requestId(request);
  if (!id || !(error instanceof LaybyError) || error.code !== 'LAYBY_ENTRY_EXISTS') return undefined;
  await readBody(request, () => undefined);
  return store.get(id);
}

/** The link may be there, nothing older waits, and the destination can take the body as it comes. */
export function mayPass(
  { backlog, linkUp }: Surroundings,
  { destination, failedOver, expected }: Arrival,
): boolean {
  const { name, store, upstream } = destination;
  if (failedOver || store.mode !== 'failover' || !linkUp(name) || backlog.isFailing(name)) return false;
  if (backlog.isPending(name) && store.order !== 'none') return false;
  // S3 takes no body of unknown length (411).
  return upstream.sign === undefined || expected !== undefined;
}
