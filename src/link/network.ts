// What kind of link the machine's way out is, as NetworkManager, ModemManager and the kernel's interfaces describe it. Pure: the properties
// come from src/link/network-dbus.ts and src/link/interfaces.ts.

import type { LinkKind } from '../policy/policy.ts';
import type { Word } from './state.ts';

export interface Network {
  interface: string;
  kind: LinkKind;
  metered: boolean;
  roaming: boolean;
  /** Percent; undefined: not known, or a cable. */
  signal: number | undefined;
  connectivity: 'unknown' | 'none' | 'portal' | 'limited' | 'full';
  /** Who says so. */
  by: 'networkmanager' | 'modemmanager' | 'interfaces';
}

/** Properties of one interface of one object, as D-Bus has them; undefined where there is none. */
export type Properties = Readonly<Record<string, unknown>> | undefined;
/** Asks for them. Never rejects. */
export type Ask = (service: string, path: string, iface: string) => Promise<Properties>;

const NM = 'org.freedesktop.NetworkManager';
const MM = 'org.freedesktop.ModemManager1';
/** Both have the same meaning in the same order: NMConnectivityState. */
const CONNECTIVITY = ['unknown', 'none', 'portal', 'limited', 'full'] as const;
/** NMDeviceType */
const KINDS: Readonly<Record<number, LinkKind>> = { 1: 'wired', 2: 'wifi', 8: 'lte' };
/** NMMetered: yes and guess-yes, no and guess-no; 0 is not known. */
const METERED: Readonly<Record<number, boolean>> = { 1: true, 3: true, 2: false, 4: false };
/** NMActiveConnectionState */
const ACTIVATED = 2;
/** MMModem3gppRegistrationState: roaming, and roaming for SMS or calls only. */
const ROAMING: ReadonlySet<unknown> = new Set([5, 7, 10]);
/** MMModemState */
const CONNECTED = 11;
/** Below it a mobile network or Wi-Fi loses most of what is sent; percent. */
const WEAK = 10;

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const number = (value: unknown): number => (typeof value === 'number' ? value : 0);
const paths = (value: unknown): string[] =>
  Array.isArray(value) ? value.map(text).filter((path) => path.length > 1) : [];

/** A mobile network costs by the byte unless somebody knows better. */
export const meteredByKind = (kind: LinkKind): boolean => kind === 'lte';

/** The way out by NetworkManager's primary connection; by ModemManager's connected modem where there is no NetworkManager. `modems`:
 *  the paths of all modems. undefined: neither knows. */
export async function readNetwork(ask: Ask, modems: () => Promise<string[]>): Promise<Network | undefined> {
  const nm = await ask(NM, '/org/freedesktop/NetworkManager', NM);
  if (!nm) return ofModem(ask, await modems());
  const connectivity = CONNECTIVITY[number(nm.Connectivity)] ?? 'unknown';
  const device = await primaryDevice(ask, nm);
  const nothing = {
    interface: '',
    kind: 'other',
    metered: false,
    roaming: false,
    signal: undefined,
  } as const;
  if (!device)
    return connectivity === 'none' ? { ...nothing, connectivity, by: 'networkmanager' } : undefined;
  const { path, properties } = device;
  const kind = KINDS[number(properties.DeviceType)] ?? 'other';
  const modem = kind === 'lte' ? await readModem(ask, text(properties.Udi)) : undefined;
  return {
    interface: text(properties.IpInterface) || text(properties.Interface),
    kind,
    metered: METERED[number(properties.Metered)] ?? METERED[number(nm.Metered)] ?? meteredByKind(kind),
    roaming: modem?.roaming ?? false,
    signal: kind === 'wifi' ? await wifiSignal(ask, path) : modem?.signal,
    connectivity,
    by: 'networkmanager',
  };
}

async function primaryDevice(ask: Ask, nm: NonNullable<Properties>) {
  for (const active of [...paths([nm.PrimaryConnection]), ...paths(nm.ActiveConnections)]) {
    const connection = await ask(NM, active, `${NM}.Connection.Active`);
    if (number(connection?.State) !== ACTIVATED) continue;
    for (const path of paths(connection?.Devices)) {
      const properties = await ask(NM, path, `${NM}.Device`);
      if (properties) return { path, properties };
    }
  }
  return undefined;
}

async function wifiSignal(ask: Ask, device: string): Promise<number | undefined> {
  const wireless = await ask(NM, device, `${NM}.Device.Wireless`);
  const [point] = paths([wireless?.ActiveAccessPoint]);
  const strength = point && (await ask(NM, point, `${NM}.AccessPoint`))?.Strength;
  return typeof strength === 'number' ? strength : undefined;
}

async function readModem(ask: Ask, path: string) {
  if (!path.startsWith('/')) return undefined;
  const [modem, mobile] = await Promise.all([
    ask(MM, path, `${MM}.Modem`),
    ask(MM, path, `${MM}.Modem.Modem3gpp`),
  ]);
  if (!modem) return undefined;
  const [quality] = Array.isArray(modem.SignalQuality) ? modem.SignalQuality : [];
  return {
    connected: number(modem.State) === CONNECTED,
    signal: typeof quality === 'number' ? quality : undefined,
    roaming: ROAMING.has(mobile?.RegistrationState),
  };
}

async function ofModem(ask: Ask, modems: string[]): Promise<Network | undefined> {
  for (const path of modems) {
    const modem = await readModem(ask, path);
    if (!modem?.connected) continue;
    const { signal, roaming } = modem;
    const kind = 'lte';
    return {
      interface: '',
      kind,
      metered: true,
      roaming,
      signal,
      connectivity: 'unknown',
      by: 'modemmanager',
    };
  }
  return undefined;
}

/** What it means for a link. `limited` says nothing: the destination may be nearer than the internet; nor does `none` where the kernel
 *  has a route: NetworkManager does not look after every interface. */
export function networkWord(network: Network | undefined, route: boolean | undefined): Word | undefined {
  if (!network) return undefined;
  const { connectivity, signal } = network;
  if (connectivity === 'portal' || (connectivity === 'none' && route !== true)) return 'down';
  if (signal !== undefined && signal < WEAK) return 'slow';
  return connectivity === 'full' ? 'up' : undefined;
}

/** For people: `LTE wwan0, metered, roaming, signal 40 %, full connectivity`. */
export function inWords({ kind, interface: name, metered, roaming, signal, connectivity }: Network): string {
  return [
    `${kind}${name && ` ${name}`}`,
    metered ? 'metered' : 'not metered',
    ...(roaming ? ['roaming'] : []),
    ...(signal === undefined ? [] : [`signal ${signal} %`]),
    ...(connectivity === 'unknown' ? [] : [`connectivity ${connectivity}`]),
  ].join(', ');
}
