// The clients that send one file, and what each makes of a 307. Add one: a program beside this file that keeps uploader.ts's word, and a
// line here.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { noGo } from '../../go.ts';
import { goClient } from '../go-programs.ts';
import { noPython, PYTHON_CLIENTS, pythonEnv } from '../python.ts';
import type { Ended, On307, Seen, Uploader } from './uploader.ts';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** The first line that a program says of itself, or undefined where it is not on the machine. */
const versionOf = (argv: readonly [string, ...string[]]): string | undefined => {
  const { status, stdout, stderr } = spawnSync(argv[0], argv.slice(1), { encoding: 'utf8' });
  return status === 0 ? /\d+(\.\d+)+/.exec(stdout + stderr)?.[0] : undefined;
};

const onMachine = (name: string, version: string | undefined): string | false =>
  version === undefined ? `there is no ${name}` : false;

const curlVersion = versionOf(['curl', '--version']);
const wgetVersion = versionOf(['wget', '--version']);
const javaVersion = versionOf(['javac', '--version']) && versionOf(['java', '--version']);

/** The status is printed, the exit code is the client's word. */
const exited =
  (version: string | undefined, statusIn: (ended: Ended) => string | undefined) =>
  (ended: Ended): Seen => ({
    ...(ended.code === 0
      ? { status: Number(statusIn(ended)) }
      : { error: `exit ${ended.code}`, words: ended.stderr.trim().split('\n').at(-1)! }),
    ...(version === undefined ? {} : { version }),
  });

const curl = (args: string, on307: On307): Uploader => ({
  name: `curl ${args}`,
  skip: onMachine('curl', curlVersion),
  on307,
  ...(args.endsWith('-') ? { pipe: true } : {}),
  command: async (url, file) => ({
    argv: [
      ...['curl', '-q', '-sS', '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code}'],
      ...args.split(' ').map((arg) => (arg === 'FILE' ? file : arg)),
      url,
    ],
    read: exited(curlVersion, ({ stdout }) => stdout),
  }),
});

const wget: Uploader = {
  name: 'wget --method=PUT --body-file=FILE',
  skip: onMachine('wget', wgetVersion),
  on307: 'follows',
  command: async (url, file) => ({
    argv: ['wget', '-nv', '-S', '--no-proxy', '-O', '/dev/null', '--method=PUT', `--body-file=${file}`, url],
    read: exited(wgetVersion, ({ stderr }) => [...stderr.matchAll(/^ *HTTP\/\S+ (\d+)/gm)].at(-1)?.[1]),
  }),
};

const onPython = (library: string, variant: string, on307: On307): Uploader => ({
  name: `${library}: ${variant}`,
  skip: noPython,
  on307,
  command: async (url, file) => ({
    argv: ['python3', here(`on_${library.replace('.', '_')}.py`), variant, url, file],
    env: await pythonEnv(PYTHON_CLIENTS),
  }),
});

const onNode = (library: string, variant: string, on307: On307): Uploader => ({
  name: `${library}: ${variant}`,
  skip: false,
  on307,
  command: async (url, file) => ({
    argv: [
      process.execPath,
      here(`on_${library.replace('Node ', '').replaceAll(/\W/g, '_')}.ts`),
      ...[variant, url, file],
    ],
  }),
});

const onGo = (variant: string, on307: On307): Uploader => ({
  name: `Go net/http: ${variant}`,
  skip: noGo,
  on307,
  command: async (url, file) => ({ argv: [await goClient('upload'), variant, url, file] }),
});

const onJava = (variant: string, on307: On307): Uploader => ({
  name: `Java HttpClient: ${variant}`,
  skip: onMachine('JDK', javaVersion),
  on307,
  command: async (url, file) => ({ argv: ['java', here('Upload.java'), variant, url, file] }),
});

export const UPLOADERS: readonly Uploader[] = [
  curl('-T FILE', 'hands it back'),
  curl('-L -T FILE', 'follows'),
  curl('-T -', 'hands it back'),
  curl('-L -T -', 'fails'),
  wget,
  onPython('http.client', 'bytes', 'hands it back'),
  onPython('http.client', 'file', 'hands it back'),
  onPython('http.client', 'generator', 'hands it back'),
  onPython('requests', 'bytes', 'follows'),
  onPython('requests', 'file', 'follows'),
  onPython('requests', 'generator', 'follows'),
  onPython('urllib3', 'bytes', 'follows'),
  onPython('urllib3', 'file', 'follows'),
  onPython('urllib3', 'generator', 'follows'),
  onPython('httpx', 'bytes', 'hands it back'),
  onPython('httpx', 'bytes, follow_redirects', 'follows'),
  onPython('httpx', 'generator', 'hands it back'),
  onPython('httpx', 'generator, follow_redirects', 'fails'),
  onPython('aiohttp', 'bytes', 'follows'),
  onPython('aiohttp', 'async generator', 'fails'),
  onNode('Node fetch', 'string', 'follows'),
  onNode('Node fetch', 'Buffer', 'follows'),
  onNode('Node fetch', 'Blob', 'follows'),
  onNode('Node fetch', 'stream', 'fails'),
  onNode('undici', 'Buffer', 'hands it back'),
  onNode('undici', 'stream', 'hands it back'),
  onNode('axios', 'Buffer', 'follows'),
  onNode('axios', 'stream', 'follows'),
  onNode('got', 'Buffer', 'follows'),
  onNode('got', 'stream', 'fails'),
  onNode('node:http', 'stream', 'hands it back'),
  onGo('bytes', 'follows'),
  onGo('file', 'hands it back'),
  onJava('file', 'hands it back'),
  onJava('file, Redirect.NORMAL', 'follows'),
];
