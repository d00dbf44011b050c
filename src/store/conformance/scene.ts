// What the scenarios of the suite, and other tests of stores, are made of.

import { createHash } from 'node:crypto';
import type { Test } from 'tap';
import { v7 as uuid } from 'uuid';
import type { Entry, EntryHead, InFlight, Store } from '../store.ts';

export type OpenStore = (dir: string, isInFlight?: InFlight) => Promise<Store>;

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

export const newHead = (head: Partial<EntryHead> = {}): EntryHead => ({
  id: uuid(),
  destination: 'dashcam',
  method: 'PUT',
  url: 'http://dashcam.example/2026/%E3%81%82+b.mp4?x=1&y',
  headers: ['Content-Type', 'video/mp4', 'X-Twice', 'a', 'x-twice', 'b'],
  orderKey: 'dashcam.example/2026/',
  class: 1,
  receivedAt: 1_790_000_000_000,
  ...head,
});

export const put = async (store: Store, body: Buffer | string, head?: Partial<EntryHead>): Promise<Entry> => {
  const bytes = Buffer.from(body);
  const writer = await store.begin(newHead(head), bytes.length);
  for (let at = 0; at < bytes.length; at += 65_536) await writer.write(bytes.subarray(at, at + 65_536));
  return writer.commit();
};

export const bodyOf = async (
  store: Store,
  entry: Entry,
  range?: { start?: number; end?: number },
): Promise<Buffer> => {
  const pieces: Buffer[] = [];
  for await (const piece of store.read(entry, range)) pieces.push(piece);
  return Buffer.concat(pieces);
};

export const all = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
};

export const idsOf = async (entries: AsyncIterable<Entry>): Promise<string[]> =>
  (await all(entries)).map(({ id }) => id);

export type Scenario = (t: Test, open: OpenStore, dir: string) => Promise<void>;

/** `inFlight`: ids of which a delivery is in flight. */
export const opened =
  (run: (t: Test, store: Store, inFlight: Set<string>) => Promise<void>): Scenario =>
  async (t, open, dir) => {
    const inFlight = new Set<string>();
    const store = await open(dir, (id) => inFlight.has(id));
    try {
      await run(t, store, inFlight);
    } finally {
      await store.close();
    }
  };
