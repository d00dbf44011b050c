// Stores bodies of three sizes, delivers, drops and refuses some, and says each step on stdout before or after it is done, as
// the ledger in ledger.ts reads it. Dies without closing, or closes. Usage: node store-and-drain.ts DIR GENERATION-BYTES
// ENTRIES close|kill.

import { randomBytes, randomInt } from 'node:crypto';
import { writeSync } from 'node:fs';
import { newHead, sha256 } from '../../../src/store/conformance.ts';
import { openStore } from '../../../src/store/leveldb/open.ts';

const [dir, generationBytes, entries, end] = process.argv.slice(2) as [string, string, string, string];
const store = await openStore(dir, { generationBytes: Number(generationBytes) });
const say = (line: string): void => void writeSync(1, `${line}\n`);

const waiting: string[] = [];
for await (const { id, state } of store.list()) if (state === 'stored') waiting.push(id);

const SIZES = [0, 1024, 1024, 1024, 1024, 1024, 1024, 3000, 64 * 1024, 64 * 1024, 64 * 1024, 2 * 1024 * 1024];
/** The index turns its log over too. */
const LONG = 'x'.repeat(20_000);

const leave = async (id: string): Promise<void> => {
  const way = randomInt(20);
  if (way < 14) {
    say(`leaving ${id}`);
    await store.delivered(id, 'ok');
    say(`left ${id}`);
  } else if (way < 16) {
    say(`leaving ${id}`);
    await store.drop(id, 'dropped', 'a rule');
    say(`left ${id}`);
  } else if (way < 17) {
    say(`dying ${id}`);
    await store.dead(id, 'refused');
    say(`dead ${id}`);
  } else {
    await store.failed(id, LONG);
    waiting.push(id);
  }
};

let left = Number(entries);
const work = async (): Promise<void> => {
  while (left-- > 0) {
    const body = randomBytes(SIZES[randomInt(SIZES.length)]!);
    const head = newHead({ destination: `d${randomInt(3)}` });
    say(`storing ${head.id} ${sha256(body)}`);
    const writer = await store.begin(head);
    for (let at = 0; at < body.length; at += 65_536) await writer.write(body.subarray(at, at + 65_536));
    const { seq } = await writer.commit();
    say(`stored ${head.id} ${seq}`);
    waiting.push(head.id);
    // A backlog that stays small, so that generations empty and go.
    while (waiting.length > 12) await leave(waiting.splice(randomInt(waiting.length), 1)[0]!);
  }
};
await Promise.all(Array.from({ length: 4 }, work));
if (end === 'kill') process.kill(process.pid, 'SIGKILL');
await store.close();
