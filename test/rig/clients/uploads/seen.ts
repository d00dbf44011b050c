// What an app in Node sees of its upload: see uploader.ts. argv is VARIANT URL FILE.

import { readFileSync } from 'node:fs';

/** Gives the status. */
export type Upload = (url: string, path: string) => Promise<number>;

export const tell = async (version: string, variants: Record<string, Upload>): Promise<void> => {
  const [variant = '', url = '', path = ''] = process.argv.slice(2);
  const seen = await variants[variant]!(url, path).then(
    (status) => ({ status }),
    (error: NodeJS.ErrnoException): object => {
      // fetch says only `fetch failed`, and the reason behind it.
      const { name, code, message }: NodeJS.ErrnoException =
        error.cause instanceof Error ? error.cause : error;
      return { error: code ?? name, words: message };
    },
  );
  // A connection that is kept open is not waited for.
  process.stdout.write(`${JSON.stringify({ ...seen, version })}\n`, () => process.exit(0));
};

/** As the package says it of itself; for those whose main module is `depth` directories below it. */
export const versionOf = (name: string, depth: number): string => {
  const root = new URL('../'.repeat(depth), import.meta.resolve(name));
  return (JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { version: string }).version;
};
