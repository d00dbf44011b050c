// docs/clients.md has what the matrix saw of every client that it knows.

import { readFileSync } from 'node:fs';
import t from 'tap';
import { S3_APPS } from '../rig/clients/s3-apps.ts';
import { UPLOADERS } from '../rig/clients/uploads/uploaders.ts';

const page = readFileSync(new URL('../../docs/clients.md', import.meta.url), 'utf8');

const clientsIn = (table: string): Set<string> => {
  const begin = page.indexOf(`<!-- ${table}: `);
  const rows = page.slice(begin, page.indexOf(`<!-- /${table} -->`, begin)).match(/^\| [^|]+/gm) ?? [];
  return new Set(rows.map((row) => row.slice(2).trim()).slice(2));
};

for (const [clients, tables] of [
  [UPLOADERS, ['online', 'down', 'cut']],
  [S3_APPS, ['s3 online', 's3 down', 's3 other', 's3 cut']],
] as const)
  for (const table of tables)
    t.test(`every client has its row in the table "${table}", and no other has`, async (t) => {
      t.same([...clientsIn(table)].sort(), clients.map(({ name }) => name).sort());
    });
