// Stores bodies of three sizes, composes some of staged parts, delivers, drops and refuses some, and says each step on stdout before or after it is done, as
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

/** Three staged parts become one entry. */
const compose = async (): Promise<void> => {
  const group = randomBytes(8).toString('hex');
  const destination = `d${randomInt(3)}`;
  const bodies = [64 * 1024, 700_000, 100].map((bytes) => randomBytes(bytes));
  const parts: string[] = [];
  for (const body of bodies) {
    const head = newHead({ destination, group });
    say(`storing ${head.id} ${sha256(body)}`);
    const writer = await store.begin(head);
    await writer.write(Buffer.from(body));
    const { seq } = await writer.commit();
    say(`stored ${head.id} ${seq}`);
    parts.push(head.id);
  }
  const whole = newHead({ destination });
  say(`storing ${whole.id} ${sha256(Buffer.concat(bodies))}`);
  for (const id of parts) say(`composing ${id} ${whole.id}`);
  const { seq } = await store.compose(whole, group, parts);
  say(`stored ${whole.id} ${seq}`);
  for (const id of parts) say(`left ${id}`);
  waiting.push(whole.id);
};

let left = Number(entries);
const work = async (): Promise<void> => {
  while (left-- > 0) {
    if (randomInt(12) === 0) await compose();
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
