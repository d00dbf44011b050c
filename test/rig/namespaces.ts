// The road: a vehicle and a cloud, each a network namespace, joined by a veth pair, or by a wire of some length. What goes wrong on it is
// in faults/.
// Names and addresses carry the pid, so that runs side by side do not meet.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endsWithTheRig } from './lifetime.ts';
import { gone, isAlive, sigkill } from './processes.ts';
import { run } from './run.ts';

/** The device of the road, the same name in both namespaces. */
export const DEVICE = 'road';

const NAMES = '/var/run/netns';
/** `ip netns exec` shows a program the files of its namespace's directory here instead of those in /etc. */
const FILES = '/etc/netns';
const PREFIX = 'layby';
const RESOLVER = fileURLToPath(new URL('dns-server.ts', import.meta.url));
const WIRE = fileURLToPath(new URL('delayed-wire.py', import.meta.url));

/** One end of the road. */
export interface End {
  /** Of the namespace. */
  name: string;
  address: string;
  /** The device's MAC. */
  mac: string;
}

export interface Road {
  vehicle: End;
  cloud: End;
  /** The command line that runs `argv` in the vehicle. It becomes the command by exec: the pid is the command's own. */
  inVehicle(argv: readonly string[]): string[];
  inCloud(argv: readonly string[]): string[];
  /** Programs that are started in the vehicle from now on resolve these names, and no others, to its loopback. */
  names(hosts: readonly string[]): Promise<void>;
  /** Starts a resolver in the cloud that knows these names, by their addresses (commas between them); programs that are started in the vehicle from now on ask it. */
  resolver(names: Readonly<Record<string, string>>): Promise<void>;
  /** Whom the vehicle asks for names, as a network says it: from now on, also of programs that run, where they look again. */
  nameserver(address: string): Promise<void>;
  /** A namespace behind one of the two, reached from both by an address of its own: as the network of a cluster has pods. */
  pod(behind: 'vehicle' | 'cloud', address: string): Promise<Pod>;
  /** What the kernel drops with an interface, put back: the vehicle's way out. */
  readdRoutes(): Promise<void>;
  /** Kills what still runs in the two namespaces and removes them. Never rejects for what is gone already. */
  remove(): Promise<void>;
}

export interface Pod {
  /** Of the namespace. */
  name: string;
  address: string;
  remove(): Promise<void>;
}

/** For a test's `skip`: why there can be no road here, or false. */
export const noRoad: string | false =
  process.platform !== 'linux'
    ? 'network namespaces need Linux'
    : process.getuid?.() !== 0
      ? 'network namespaces need root'
      : spawnSync('ip', ['-V']).status !== 0
        ? 'network namespaces need ip (iproute2)'
        : false;

/** The same for one with a delay. */
export const noDelay: string | false =
  noRoad || (existsSync('/dev/net/tun') ? false : 'a road of some length needs /dev/net/tun');

const namespaces = (): string[] => {
  try {
    return readdirSync(NAMES);
  } catch {
    return [];
  }
};

const pidsIn = (namespace: string): number[] =>
  spawnSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8' })
    .stdout.split('\n')
    .filter((line) => line !== '')
    .map(Number);

const removeNow = (namespace: string): number[] => {
  rmSync(join(FILES, namespace), { recursive: true, force: true });
  if (!namespaces().includes(namespace)) return [];
  const pids = pidsIn(namespace);
  pids.forEach(sigkill);
  spawnSync('ip', ['netns', 'del', namespace]);
  return pids;
};

/** Removes the namespaces of rigs whose process is gone, with what still runs in them. Returns their names. */
export const sweep = (): string[] => {
  const stale = namespaces().filter((name) => {
    const pid = name.match(new RegExp(`^${PREFIX}-(\\d+)-[0-9a-f]+-(?:[vc]|p\\d+)$`))?.[1];
    return pid !== undefined && !isAlive(Number(pid));
  });
  stale.forEach(removeNow);
  return stale;
};

let made = 0;

/** 10.64.0.0/10 in /30s: the pid picks the place, the count of roads in this process moves on from it. */
const addresses = (): [string, string] => {
  const block = (process.pid * 16 + made++) % 2 ** 20;
  const dotted = (host: number) => {
    const value = block * 4 + host;
    return `10.${64 + ((value >>> 16) & 63)}.${(value >>> 8) & 255}.${value & 255}`;
  };
  return [dotted(1), dotted(2)];
};

const macOf = async (namespace: string): Promise<string> => {
  const link = await run(['ip', '-n', namespace, '-o', 'link', 'show', 'dev', DEVICE]);
  return link.match(/link\/ether ([0-9a-f:]{17})/)![1]!;
};

/** Resolves when a program of the road has said that it is there, rejects where it ends before. */
const ready = async (program: ChildProcess, what: string): Promise<void> => {
  const ended = once(program, 'exit').then(([code]) => {
    throw new Error(`the ${what} of the road ended with ${code}`);
  });
  ended.catch(() => {}); // Afterwards whoever uses the road will see.
  await Promise.race([once(program.stdout!, 'data'), ended]);
};

/** A device in each of the two namespaces, with a wire between them that takes `delay` ms each way. */
const delayedWire = async (v: string, c: string, delay: number): Promise<ChildProcess> => {
  const id = randomBytes(4).toString('hex');
  const ends = [`layby${id}v`, `layby${id}c`];
  const wire = spawn('python3', [WIRE, ...ends, String(delay)], { stdio: ['ignore', 'pipe', 'inherit'] });
  await ready(wire, 'wire');
  for (const [at, namespace] of [v, c].entries())
    await run(['ip', 'link', 'set', ends[at]!, 'netns', namespace, 'name', DEVICE]);
  return wire;
};

export interface RoadOptions {
  /** One way, ms; default: none. */
  delay?: number;
}

/** Two namespaces, joined, with loopback up in both; the vehicle's default route leads to the cloud. Needs root (`noRoad`).
 *  Takes about 0.1 s. */
export const makeRoad = async ({ delay = 0 }: RoadOptions = {}): Promise<Road> => {
  sweep();
  const id = `${PREFIX}-${process.pid}-${randomBytes(3).toString('hex')}`;
  const [v, c] = [`${id}-v`, `${id}-c`];
  const [vehicleAddress, cloudAddress] = addresses();
  let wire: ChildProcess | undefined;
  const pods = new Set<string>();
  let podsMade = 0;
  const removeAll = (): number[] => [v, c, ...pods].flatMap(removeNow);
  const forget = endsWithTheRig(() => {
    removeAll();
    wire?.kill('SIGKILL');
  });
  const remove = async () => {
    const pids = [...removeAll(), ...(wire?.pid ? [wire.pid] : [])];
    wire?.kill('SIGKILL');
    forget();
    await gone(pids);
  };
  const readdRoutes = async () => {
    await run(['ip', '-n', v, 'route', 'replace', 'default', 'via', cloudAddress, 'dev', DEVICE]);
  };
  const names = async (hosts: readonly string[]) => {
    await mkdir(join(FILES, v), { recursive: true });
    await writeFile(join(FILES, v, 'hosts'), `127.0.0.1 localhost ${hosts.join(' ')}\n`);
  };
  const nameserver = async (address: string) => {
    await mkdir(join(FILES, v), { recursive: true });
    await writeFile(join(FILES, v, 'resolv.conf'), `nameserver ${address}\noptions timeout:1 attempts:2\n`);
  };
  const resolver = async (known: Readonly<Record<string, string>>) => {
    const pairs = Object.entries(known).map(([name, address]) => `${name}=${address}`);
    const [ip = '', ...args] = ['ip', 'netns', 'exec', c, process.execPath, RESOLVER, cloudAddress, ...pairs];
    // It ends with its namespace.
    await ready(spawn(ip, args, { stdio: ['ignore', 'pipe', 'inherit'] }), 'resolver');
    await nameserver(cloudAddress);
  };
  const pod: Road['pod'] = async (behind, address) => {
    const inVehicle = behind === 'vehicle';
    const [node, gateway] = inVehicle ? [v, vehicleAddress] : [c, cloudAddress];
    podsMade += 1;
    const name = `${id}-p${podsMade}`;
    const device = `p${podsMade}`;
    pods.add(name);
    await run(['ip', 'netns', 'add', name]);
    await run([
      'ip',
      '-n',
      node,
      'link',
      'add',
      device,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      name,
    ]);
    await run(['ip', '-n', name, 'addr', 'add', `${address}/32`, 'dev', 'eth0']);
    for (const [where, what] of [
      [name, 'lo'],
      [name, 'eth0'],
      [node, device],
    ] as const)
      await run(['ip', '-n', where, 'link', 'set', what, 'up']);
    await run(['ip', '-n', name, 'route', 'add', gateway, 'dev', 'eth0']);
    await run(['ip', '-n', name, 'route', 'add', 'default', 'via', gateway, 'dev', 'eth0']);
    await run(['ip', '-n', node, 'route', 'add', `${address}/32`, 'dev', device]);
    // The vehicle's default route leads to the cloud anyway.
    if (inVehicle) await run(['ip', '-n', c, 'route', 'add', `${address}/32`, 'via', gateway, 'dev', DEVICE]);
    for (const each of [v, c])
      await run(['ip', 'netns', 'exec', each, 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward']);
    return {
      name,
      address,
      remove: async () => {
        pods.delete(name);
        await gone(removeNow(name));
        if (inVehicle) await run(['ip', '-n', c, 'route', 'del', `${address}/32`]);
      },
    };
  };
  try {
    await run(['ip', 'netns', 'add', v]);
    await run(['ip', 'netns', 'add', c]);
    if (delay > 0) wire = await delayedWire(v, c, delay);
    else
      await run(['ip', '-n', v, 'link', 'add', DEVICE, 'type', 'veth', 'peer', 'name', DEVICE, 'netns', c]);
    for (const [namespace, address] of [
      [v, vehicleAddress],
      [c, cloudAddress],
    ] as const) {
      await run(['ip', '-n', namespace, 'addr', 'add', `${address}/30`, 'dev', DEVICE]);
      await run(['ip', '-n', namespace, 'link', 'set', 'lo', 'up']);
      await run(['ip', '-n', namespace, 'link', 'set', DEVICE, 'up']);
    }
    await readdRoutes();
    return {
      vehicle: { name: v, address: vehicleAddress, mac: await macOf(v) },
      cloud: { name: c, address: cloudAddress, mac: await macOf(c) },
      inVehicle: (argv) => ['ip', 'netns', 'exec', v, ...argv],
      inCloud: (argv) => ['ip', 'netns', 'exec', c, ...argv],
      names,
      resolver,
      nameserver,
      pod,
      readdRoutes,
      remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
};
