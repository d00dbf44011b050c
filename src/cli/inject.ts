import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { Command, Option } from 'commander';
import { LaybyError, messageOf } from '../telemetry/error.ts';

interface Options {
  filename: string[];
  namespace: string;
  settings?: string;
  image?: string;
  capture?: string;
  edge?: string;
}

/** `layby inject`: what the webhook does, offline. */
export const injectCommand = () =>
  new Command('inject')
    .description('print Kubernetes manifests with a sidecar in whatever runs pods')
    .requiredOption('-f, --filename <file...>', 'manifests, YAML or JSON; -: stdin')
    .option('-n, --namespace <name>', 'of documents that name none', 'default')
    .option('--settings <file>', 'as the webhook has them: docs/injection.md')
    .option('--image <image>', 'of the sidecar')
    .addOption(
      new Option('--capture <how>', 'where no annotation says it').choices(['iptables', 'proxy', 'none']),
    )
    .option('--edge <host>', 'where the edge pod is (default: on the same node)')
    .action(inject);

async function inject({ filename, namespace, settings: file, ...options }: Options): Promise<void> {
  const { injectText } = await import('../inject/documents.ts');
  const { readSettings, settingsOf } = await import('../inject/read-settings.ts');
  const settings = settingsOf({ ...(await readSettings(file)), ...options }, 'the settings');
  const texts: string[] = [];
  for (const path of filename) {
    const result = injectText(await read(path), { file: path, namespace, settings });
    for (const line of result.without) console.error(`layby: no sidecar: ${line}`);
    texts.push(result.text);
  }
  process.stdout.write(joined(texts));
}

async function read(path: string): Promise<string> {
  if (path === '-') return text(process.stdin);
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new LaybyError('LAYBY_INJECT_INVALID', `${path} cannot be read: ${messageOf(cause)}`, {
      remedy: 'name a file with -f, or - for stdin',
      cause,
    });
  }
}

/** Each file begins with a document of its own. */
const joined = (texts: readonly string[]): string =>
  texts
    .map((each, index) => {
      const whole = each.endsWith('\n') || index === texts.length - 1 ? each : `${each}\n`;
      return index === 0 || whole.startsWith('---') ? whole : `---\n${whole}`;
    })
    .join('');
