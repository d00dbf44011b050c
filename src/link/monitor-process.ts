// `ip monitor` as a child that ends with this process, however that ends. By itself it would live until the next event of the network, when it
// finds that nobody reads it: a shell stands between, and ends it when the pipe from this process closes.

import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';

const SHELL = '/bin/sh';

/** The shell gives a command that runs beside it no input of its own, so the pipe is kept as descriptor 3. */
const SCRIPT = `
exec 3<&0
"$@" </dev/null 3<&- &
monitor=$!
{ read -r end <&3; kill "$monitor"; } >/dev/null &
reader=$!
wait "$monitor"
status=$?
kill "$reader"
exit "$status"
`;

/** What a shell exits with where there is no such command. */
const NO_COMMAND = 127;

/** An image without a shell, as that of the chart, runs this process as the first of its container: the kernel ends all others with it. */
const hasShell = (): boolean => {
  try {
    accessSync(SHELL, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

export interface Monitor {
  /** `error` with ENOENT: there is no such command and no shell. */
  child: ChildProcess;
  /** The exit code says that there is no such command. */
  isMissing(code: number | null): boolean;
  end(): void;
}

/** `ip`: the command and its leading arguments. */
export function spawnMonitor([file = 'ip', ...leading]: readonly string[]): Monitor {
  const args = [...leading, 'monitor', 'link', 'address', 'route'];
  if (!hasShell()) {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    return { child, isMissing: () => false, end: () => void child.kill() };
  }
  const child = spawn(SHELL, ['-c', SCRIPT, 'sh', file, ...args], { stdio: ['pipe', 'pipe', 'ignore'] });
  // The shell may have ended.
  child.stdin?.on('error', () => undefined);
  return { child, isMissing: (code) => code === NO_COMMAND, end: () => void child.stdin?.destroy() };
}
