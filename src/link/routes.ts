// Asks the kernel, through iproute2, whether it has a way to some addresses. One process per question, however many
// addresses: this runs on every event of a flapping link.

import { spawn } from 'node:child_process';
import { LaybyError } from '../telemetry/error.ts';

// The kernel answers in about a millisecond; an `ip` that does not answer must not stop the watch. ms
const ANSWER_WITHIN = 2000;
// A full routing table is never asked for, so a few KiB are usual.
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;

export interface Routes {
  /** For each address asked for: is there a route through an interface that has a carrier? */
  addresses: Map<string, boolean>;
  /** Is there such a default route, IPv4 or IPv6, in any table? */
  byDefault: boolean;
}

interface Interface {
  ifname: string;
  flags?: string[];
  operstate?: string;
}

interface Hop {
  dev?: string;
  flags?: string[];
}

interface Route extends Hop {
  /** Left out for unicast. */
  type?: string;
  nexthops?: Hop[];
}

const NO_CARRIER = new Set(['DOWN', 'LOWERLAYERDOWN', 'NOTPRESENT']);

const usableInterfaces = (interfaces: Interface[]): Set<string> => {
  const usable = new Set<string>();
  for (const { ifname, flags = [], operstate = 'UNKNOWN' } of interfaces) {
    if (flags.includes('UP') && !flags.includes('NO-CARRIER') && !NO_CARRIER.has(operstate))
      usable.add(ifname);
  }
  return usable;
};

const isUsable = (route: Route, interfaces: Set<string>): boolean => {
  if (route.type === 'local') return true;
  // unreachable, blackhole, prohibit, throw: routes that say no.
  if (route.type !== undefined && route.type !== 'unicast') return false;
  return [route, ...(route.nexthops ?? [])].some(
    ({ dev, flags = [] }) =>
      dev !== undefined && interfaces.has(dev) && !flags.includes('linkdown') && !flags.includes('dead'),
  );
};

/** Answers of a batch, one per command; undefined for a command that failed. Rejects where `ip` itself does not work. */
const batch = (ip: readonly string[], commands: readonly string[]): Promise<(unknown[] | undefined)[]> =>
  new Promise((resolve, reject) => {
    const [file, ...args] = ip;
    // `-force`: an address without a route is an error to `ip`, and no reason to stop.
    const child = spawn(file!, [...args, '-json', '-force', '-batch', '-'], {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: ANSWER_WITHIN,
      killSignal: 'SIGKILL',
      env: { ...process.env, LC_ALL: 'C' },
    });
    // Before the pipes are touched: without file descriptors left there are none.
    child.on('error', reject);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (stdout.length > MAX_ANSWER_BYTES) child.kill('SIGKILL');
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (stderr.length < MAX_ANSWER_BYTES) stderr += text;
    });
    child.on('close', (code, signal) => {
      const failed = new Set(
        Array.from(stderr.matchAll(/^Command failed -:(\d+)$/gm), (match) => Number(match[1])),
      );
      const lines = stdout.split('\n').filter(Boolean);
      if (signal !== null || lines.length + failed.size !== commands.length) {
        const said = stderr.trim().split('\n', 1)[0];
        reject(
          new LaybyError(
            'LAYBY_LINK_IP_FAILED',
            `${ip.join(' ')} did not answer as iproute2 does (${signal ?? `exit ${code}`}${said ? `, ${said}` : ''})`,
            { remedy: 'install iproute2; until then only failed requests tell that the link is down' },
          ),
        );
        return;
      }
      let next = 0;
      try {
        resolve(commands.map((_, i) => (failed.has(i + 1) ? undefined : JSON.parse(lines[next++]!))));
      } catch (cause) {
        reject(new LaybyError('LAYBY_LINK_IP_FAILED', `${ip.join(' ')} gave no valid JSON`, { cause }));
      }
    });
    child.stdin.on('error', () => {}); // EPIPE: the close above tells why
    child.stdin.end(`${commands.join('\n')}\n`);
  });

const routeGet = (address: string): string => {
  const [bare, zone] = address.split('%');
  return `route get ${bare}${zone ? ` oif ${zone}` : ''}`;
};

/**
 * `addresses`: IP literals, checked by the caller; `ip`: the command with its leading arguments, as `['ip', '-n', ns]`.
 * Rejects with LAYBY_LINK_IP_FAILED, or ENOENT where there is no such command.
 */
export const askRoutes = async (ip: readonly string[], addresses: readonly string[]): Promise<Routes> => {
  const [links, defaults, ...gets] = await batch(ip, [
    'link show',
    'route show table all default',
    ...addresses.map(routeGet),
  ]);
  const interfaces = usableInterfaces((links ?? []) as Interface[]);
  const usable = (routes: unknown[] | undefined) =>
    ((routes ?? []) as Route[]).some((route) => isUsable(route, interfaces));
  return {
    addresses: new Map(addresses.map((address, i) => [address, usable(gets[i])])),
    byDefault: usable(defaults),
  };
};
