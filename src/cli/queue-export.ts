// `layby queue export`: entries as files, for each its head as JSON and its body, checked against the hash of the receipt.

import { createHash } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import { adminOption, ask, fetchBytes } from './admin-client.ts';
import { type EntryView, type FilterOptions, queryOf, selectionOf, withFilter } from './selection.ts';

interface ExportOptions extends FilterOptions {
  admin: string;
  output: string;
}

export const exportCommand = () =>
  withFilter(new Command('export'))
    .description('entries as files: ID.json has the head, secrets included, ID.body the body')
    .argument('[id...]')
    .option('--all', 'every entry')
    .requiredOption('-o, --output <dir>', 'where the files go')
    .addOption(adminOption())
    .action(exportEntries);

async function exportEntries(ids: string[], { admin, output, ...filter }: ExportOptions): Promise<void> {
  selectionOf(ids, filter);
  const query = queryOf(filter);
  if (ids.length === 0 && query === '')
    throw new LaybyError('LAYBY_REQUEST_INVALID', 'nothing is selected', {
      remedy: 'name ids, a filter like --destination NAME, or --all',
    });
  const wanted =
    ids.length > 0 ? ids : (await ask<EntryView[]>(admin, 'GET', `/v1/queue${query}`)).map(({ id }) => id);
  try {
    await mkdir(output, { recursive: true });
  } catch (cause) {
    throw unwritable(output, cause);
  }
  for (const id of wanted) {
    const { bytes } = await exportEntry(admin, id, output);
    console.log(`${join(output, id)}.body  ${bytes} bytes, SHA-256 as in the receipt`);
  }
}

/** A file has its name only when it is whole: what breaks off leaves none. */
async function exportEntry(admin: string, id: string, output: string): Promise<EntryView> {
  const path = `/v1/queue/entries/${encodeURIComponent(id)}`;
  const entry = await ask<EntryView>(admin, 'GET', `${path}?secrets=1`);
  const hash = createHash('sha256');
  await write(join(output, `${entry.id}.body`), async (take) => {
    try {
      for await (const piece of (await fetchBytes(admin, `${path}/body`)) as AsyncIterable<Buffer>) {
        hash.update(piece);
        await take(piece);
      }
    } catch (cause) {
      if (cause instanceof LaybyError) throw cause;
      throw damaged(id, messageOf(cause), cause);
    }
    if (hash.digest('hex') !== entry.sha256) throw damaged(id, 'the SHA-256 is another one');
  });
  await write(join(output, `${entry.id}.json`), (take) =>
    take(Buffer.from(`${JSON.stringify(entry, undefined, 2)}\n`)),
  );
  return entry;
}

const damaged = (id: string, why: string, cause?: unknown): LaybyError =>
  new LaybyError('LAYBY_EXPORT_FAILED', `the body of ${id} did not come whole (${why})`, {
    remedy: 'see whether it is quarantined with `layby queue show ID`, then try again',
    ...(cause !== undefined && { cause }),
  });

const unwritable = (path: string, cause: unknown): LaybyError =>
  new LaybyError('LAYBY_EXPORT_FAILED', `${path} cannot be written (${messageOf(cause)})`, {
    remedy: 'name a directory with room that you may write',
    cause,
  });

/** Readable by its owner only: what apps send is theirs. */
async function write(
  path: string,
  fill: (take: (piece: Buffer) => Promise<unknown>) => Promise<unknown>,
): Promise<void> {
  const part = `${path}.part`;
  try {
    const file = await open(part, 'w', 0o600);
    try {
      await fill((piece) =>
        file.writeFile(piece).catch((cause) => {
          throw unwritable(part, cause);
        }),
      );
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, path);
  } catch (cause) {
    await rm(part, { force: true });
    throw cause instanceof LaybyError ? cause : unwritable(part, cause);
  }
}
