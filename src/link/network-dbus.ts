// The system bus: asks NetworkManager and ModemManager about the way out, and asks again when they say that something changed. Where there
// is no bus nothing is loaded and nothing happens.

import { existsSync } from 'node:fs';
import type { MessageBus } from 'dbus-native';
import { timerMs } from '../platform/timer.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { type Ask, type Network, type Properties, readNetwork } from './network.ts';

/** A change makes many signals; ms. */
const COALESCE = 50;
/** Signal strength changes all the time: between two looks, ms. */
const AT_MOST_EVERY = 1_000;
const ANSWER_WITHIN = 2_000;
const SYSTEM_BUS = 'unix:path=/run/dbus/system_bus_socket';

const SERVICES = ['org.freedesktop.NetworkManager', 'org.freedesktop.ModemManager1'];
const SIGNAL = 4;

export interface NetworkBusOptions {
  /** Default: $DBUS_SYSTEM_BUS_ADDRESS, else the system bus at its usual place. */
  address?: string;
  /** Called with the first answer and when it is another; undefined: neither service is there, or they know of no way out. */
  onChange: (network: Network | undefined) => void;
  log: Logger;
}

/** Resolves with what ends it. Never rejects. */
export async function watchNetworkBus({
  address = process.env.DBUS_SYSTEM_BUS_ADDRESS ?? SYSTEM_BUS,
  onChange,
  log,
}: NetworkBusOptions): Promise<() => void> {
  const path = /^unix:path=([^,;]+)/.exec(address)?.[1];
  if (path === undefined || !existsSync(path)) {
    onChange(undefined);
    return () => {};
  }
  const { createClient } = await import('dbus-native');
  const bus = createClient({ busAddress: address, timeout: ANSWER_WITHIN, reconnect: true });
  const closed = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let looking = false;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let last: string | undefined;

  const look = (): void => {
    if (timer || looking || closed.signal.aborted) return;
    const wait = Math.max(COALESCE, lookedAt + AT_MOST_EVERY - performance.now());
    timer = setTimeout(async () => {
      timer = undefined;
      looking = true;
      lookedAt = performance.now();
      again = false;
      const network = await readNetwork(asker(bus), () => modemsOf(bus));
      looking = false;
      if (closed.signal.aborted) return;
      const now = JSON.stringify(network) ?? '';
      if (now !== last) onChange(network);
      last = now;
      if (again) look();
    }, timerMs(wait)).unref();
  };
  let again = false;
  bus.connection.on('message', ({ type, member }: { type?: number; member?: string }) => {
    if (type !== SIGNAL || member === 'NameAcquired') return;
    again = true;
    look();
  });
  bus.connection.on('error', (error) => {
    if (!closed.signal.aborted) log.debug({ err: messageOf(error) }, 'the system bus is away');
  });
  bus.on('reconnected', look);
  for (const service of SERVICES) {
    const owner = `sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='${service}'`;
    for (const rule of [`type='signal',sender='${service}'`, `type='signal',${owner}`])
      bus
        .addMatch(rule)
        .catch((error) => log.debug({ err: messageOf(error) }, 'the system bus does not tell'));
  }
  look();
  return () => {
    closed.abort();
    clearTimeout(timer);
    bus.connection.end();
  };
}

const asker =
  (bus: MessageBus): Ask =>
  (service, path, iface) =>
    Promise.resolve(
      bus.invoke<Properties>({
        destination: service,
        path,
        interface: 'org.freedesktop.DBus.Properties',
        member: 'GetAll',
        signature: 's',
        body: [iface],
        // Who is not there is not to be started because we ask.
        flags: NO_AUTO_START,
      }),
    ).catch(() => undefined);

const NO_AUTO_START = 2;

const modemsOf = (bus: MessageBus): Promise<string[]> =>
  Promise.resolve(
    bus.invoke<Record<string, unknown>>({
      destination: 'org.freedesktop.ModemManager1',
      path: '/org/freedesktop/ModemManager1',
      interface: 'org.freedesktop.DBus.ObjectManager',
      member: 'GetManagedObjects',
      flags: NO_AUTO_START,
    }),
  ).then(
    (objects) => Object.keys(objects ?? {}),
    () => [],
  );
