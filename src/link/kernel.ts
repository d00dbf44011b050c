// What the kernel knows of the way to each upstream, told within milliseconds of a change: `ip monitor` says that
// something happened, src/link/routes.ts asks what it means. A hint only: a route is no proof that anything answers
// behind it. What follows from the hint is for src/link/state.ts.

import { BlockList, isIP } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { timerMs } from '../platform/timer.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { AddressBook, type Resolve } from './addresses.ts';
import { type Monitor, spawnMonitor } from './monitor-process.ts';
import { askRoutes, type Routes } from './routes.ts';

// One `ip link set down` makes several events, all within a millisecond or two.
const COALESCE = 5;
// A monitor that ends at once, again and again, must not take the machine; ms.
const RESTART_FIRST = 100;
const RESTART_MOST = 30_000;
// From its start until the monitor listens, on a busy machine; ms.
const LISTENS_AFTER = 1000;
// Names are looked up again while there is a way to look them up; ms.
const LOOK_UP_EVERY = 60_000;
// The start does not wait for a resolver that may be behind the lost link; ms.
const PROBE_LOOK_UP = 500;

/** By target as given: is there a route? undefined: not known. */
export type Reachable = Map<string, boolean | undefined>;

export interface KernelOptions {
  /** The command and its leading arguments; `['ip', '-n', ns]` for another namespace. Default `['ip']`. */
  ip?: readonly string[];
  /** How names are resolved; default getaddrinfo. */
  resolve?: Resolve;
}

export interface KernelWatchOptions extends KernelOptions {
  /** Host names or IP addresses of the upstreams; asked again at every look. */
  targets: () => readonly string[];
  /** Called once at the start, then whenever the answer for some target is another. */
  onChange: (reachable: Reachable) => void;
  log: Logger;
}

export interface KernelWatch {
  /** Looks now, where there are targets of which nothing is known yet: of others the kernel tells by itself. */
  look(): void;
  /** Resolves when the processes it started have ended. */
  close(): Promise<void>;
}

const known = (targets: readonly string[], book: AddressBook): string[] => [
  ...new Set(targets.flatMap((target) => book.addresses(target) ?? [])),
];

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');
const isLoopback = (address: string) => loopback.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');

/** Whether a target is this machine itself, which no network leads to. */
export const isOwn = (target: string): boolean =>
  target === 'localhost' || (isIP(target) !== 0 && isLoopback(target));

const verdict = (target: string, book: AddressBook, routes: Routes): boolean | undefined => {
  const addresses = book.addresses(target);
  if (addresses?.length)
    return addresses.some((address) => isLoopback(address) || routes.addresses.get(address) === true);
  if (routes.byDefault) return true;
  // Without a default route the name may still be a neighbour's, until the first look-up has ended.
  return addresses ? false : undefined;
};

const ask = async (
  ip: readonly string[],
  targets: readonly string[],
  book: AddressBook,
): Promise<Reachable> => {
  const routes = await askRoutes(ip, known(targets, book));
  return new Map(targets.map((target) => [target, verdict(target, book, routes)]));
};

const unknown = (targets: readonly string[]): Reachable =>
  new Map(targets.map((target) => [target, undefined]));

const same = (a: Reachable | undefined, b: Reachable): boolean =>
  a?.size === b.size && [...b].every(([target, reachable]) => a.has(target) && a.get(target) === reachable);

/** Asks once, for the start. Takes half a second at most where names must be looked up. Never rejects. */
export const probe = async (
  targets: readonly string[],
  { ip = ['ip'], resolve }: KernelOptions = {},
): Promise<Reachable> => {
  const book = new AddressBook(resolve);
  const late = new AbortController();
  await Promise.race([
    book.refresh(targets, Number.POSITIVE_INFINITY),
    pause(PROBE_LOOK_UP, undefined, { signal: late.signal }).catch(() => {}),
  ]);
  late.abort();
  return ask(ip, targets, book).catch(() => unknown(targets));
};

/** Watches until closed. Without iproute2 every target stays undefined, and the log says so once. */
export const watchKernel = ({
  targets,
  onChange,
  log,
  ip = ['ip'],
  resolve,
}: KernelWatchOptions): KernelWatch => {
  const book = new AddressBook(resolve);
  const ended = new AbortController();
  let monitor: Monitor | undefined;
  let last: Reachable | undefined;
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;
  let again = false;
  let complained = false;

  const complain = (thrown: unknown) => {
    if (complained) return;
    complained = true;
    log.warn(
      { err: messageOf(thrown) },
      'the kernel cannot be asked for routes: the link is not known from it',
    );
  };

  const tell = (reachable: Reachable) => {
    if (ended.signal.aborted || same(last, reachable)) return;
    last = reachable;
    onChange(new Map(reachable));
  };

  const lookNow = async (): Promise<void> => {
    const wanted = targets();
    try {
      tell(await ask(ip, wanted, book));
      complained = false;
    } catch (thrown) {
      complain(thrown);
      tell(unknown(wanted));
    }
  };

  const look = () => {
    if (ended.signal.aborted || timer) return;
    if (looking) {
      again = true;
      return;
    }
    timer = setTimeout(() => {
      timer = undefined;
      looking = lookNow().finally(() => {
        looking = undefined;
        if (again) look();
        again = false;
      });
    }, COALESCE);
  };

  let lookingUp = false;
  const lookUp = async (): Promise<void> => {
    // Names behind a lost link keep the addresses they had; only those without any are tried.
    if (lookingUp || ended.signal.aborted) return;
    lookingUp = true;
    const anyWay = [...(last?.values() ?? [])].some((reachable) => reachable !== false);
    await book.refresh(targets(), anyWay ? LOOK_UP_EVERY : Number.POSITIVE_INFINITY, look);
    lookingUp = false;
  };
  const everySoOften = setInterval(() => {
    look();
    void lookUp();
  }, LOOK_UP_EVERY);
  everySoOften.unref();

  /** One life of the monitor. Resolves with ms that it lived; undefined: there is no such command. */
  const live = (): Promise<number | undefined> =>
    new Promise((done) => {
      const from = performance.now();
      // Its text is never parsed: that it says something is enough, and what it means is asked for as JSON.
      const started = spawnMonitor(ip);
      monitor = started;
      const { child } = started;
      const missing = (thrown: unknown) => {
        complain(thrown);
        tell(unknown(targets()));
        done(undefined);
      };
      child.on('error', (thrown: NodeJS.ErrnoException) => {
        if (thrown.code !== 'ENOENT') {
          done(performance.now() - from);
          return;
        }
        missing(thrown);
      });
      // Without file descriptors left there is no pipe either, and the error above says so.
      child.stdout?.on('data', () => {
        look();
        void lookUp();
      });
      // What happened before the monitor listened is seen by these looks: one now, and one when it surely listens.
      child.on('spawn', () => {
        look();
        setTimeout(look, LISTENS_AFTER).unref();
      });
      child.on('close', (code) => {
        if (started.isMissing(code)) {
          missing(new Error(`there is no program ${ip[0]}`));
          return;
        }
        look();
        done(performance.now() - from);
      });
    });

  const supervise = async (): Promise<void> => {
    let wait = RESTART_FIRST;
    while (!ended.signal.aborted) {
      const lived = await live();
      if (lived === undefined || ended.signal.aborted) return;
      wait = lived > RESTART_MOST ? RESTART_FIRST : wait;
      log.warn({ lived: Math.round(lived), wait }, 'ip monitor has ended: it is started again');
      await pause(timerMs(wait), undefined, { signal: ended.signal }).catch(() => {});
      wait = Math.min(wait * 2, RESTART_MOST);
    }
  };

  void lookUp();
  const supervised = supervise();

  return {
    look() {
      if (targets().every((target) => last?.get(target) !== undefined)) return;
      look();
      void lookUp();
    },
    async close() {
      ended.abort();
      clearInterval(everySoOften);
      clearTimeout(timer);
      monitor?.end();
      await supervised;
      await looking;
    },
  };
};
