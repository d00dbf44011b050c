// Runs the machine's python3: for pip, for unpacking wheels, and for reading generated Python. Standard library only.

import { spawn } from 'node:child_process';
import { LaybyError } from '../telemetry/error.ts';

/** What is kept of each output, bytes: pip's last words, not its progress. */
const OUTPUT_LIMIT = 256 * 1024;

/** What a shell, and pyenv's shims, answer for a program that is not there. */
const NOT_FOUND = 127;

export interface PythonOptions {
  env?: NodeJS.ProcessEnv;
  /** Kills the run. */
  signal?: AbortSignal | undefined;
  /** Finishes the remedy where Python is missing: "install python3 and pip, or …". */
  orElse?: string;
}

export interface PythonRun {
  /** Exit code; -1 for a death by signal. */
  code: number;
  stdout: string;
  stderr: string;
}

const noPython = (options: PythonOptions, cause?: unknown): LaybyError =>
  new LaybyError('LAYBY_PYTHON_NOT_FOUND', 'there is no python3 on PATH', {
    remedy: `install python3 with pip${options.orElse ? `, or ${options.orElse}` : ''}`,
    cause,
  });

/** Runs `python3 ARGS`. A failing program is an answer, not an error. Rejects with LAYBY_PYTHON_NOT_FOUND, or with the
 *  signal's reason. */
export const runPython = (args: string[], options: PythonOptions = {}): Promise<PythonRun> =>
  new Promise((done, fail) => {
    const { signal } = options;
    if (signal?.aborted) return fail(signal.reason);
    const child = spawn('python3', args, {
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(signal ? { signal, killSignal: 'SIGKILL' as const } : {}),
    });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (text: string) => {
        output[stream] = (output[stream] + text).slice(-OUTPUT_LIMIT);
      });
    }
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (signal?.aborted) fail(signal.reason);
      else fail(error.code === 'ENOENT' ? noPython(options, error) : error);
    });
    child.on('close', (code) => {
      if (code === NOT_FOUND) fail(noPython(options));
      else done({ code: code ?? -1, ...output });
    });
  });
