// Runs a command of the machine (ip, tc, go) to its end. Long-lived processes are for the pieces that own them.

import { execFile } from 'node:child_process';

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  /** ms; the command is killed after it. */
  timeout?: number;
}

/** Standard output of a command. Rejects with an Error that has the command line and its stderr in the message. */
export const run = (argv: readonly string[], options: RunOptions = {}): Promise<string> =>
  new Promise((resolve, reject) => {
    const [file = '', ...args] = argv;
    const settings = {
      maxBuffer: 64 * 1024 * 1024,
      timeout: options.timeout ?? 30_000,
      ...(options.env ? { env: options.env } : {}),
    };
    execFile(file, args, settings, (error, stdout, stderr) => {
      if (error) reject(new Error(`${argv.join(' ')}: ${stderr.trim() || error.message}`, { cause: error }));
      else resolve(stdout);
    });
  });
