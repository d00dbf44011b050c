// NetworkManager and ModemManager as python-dbusmock plays them, on a private bus. It needs dbus-daemon and python3-dbusmock (Debian);
// ModemManager's template came with its version 0.30.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient, Variant } from 'dbus-native';
import t, { type Test } from 'tap';
import { inWords, type Network, networkWord } from '../../src/link/network.ts';
import { watchNetworkBus } from '../../src/link/network-dbus.ts';
import { logger } from '../../src/telemetry/log.ts';
import { testdir } from '../rig/testdir.ts';

// Debian's modules belong to Debian's Python, which is not always the first on the PATH.
const python = ['/usr/bin/python3', 'python3'].find((name) => runs(name, '-c', 'import dbusmock, gi'));

function runs(program: string, ...args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const skip =
  python === undefined
    ? 'python3-dbusmock is not there'
    : !runs('dbus-daemon', '--version') && 'dbus-daemon is not there';
const hasModems = python !== undefined && runs(python, '-c', 'import dbusmock.templates.modemmanager');

const log = logger('link');
log.level = 'silent';

const CONFIG = (dir: string) => `<busconfig><type>system</type><listen>unix:path=${dir}/bus</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>`;

const NM = 'org.freedesktop.NetworkManager';
const MM = 'org.freedesktop.ModemManager1';
const MOCK = 'org.freedesktop.DBus.Mock';

const privateBus = async (t: Test) => {
  const dir = await mkdtemp(join(tmpdir(), 'layby-bus-'));
  writeFileSync(join(dir, 'bus.conf'), CONFIG(dir));
  const address = `unix:path=${dir}/bus`;
  const daemon = spawn('dbus-daemon', ['--nofork', '--print-address', `--config-file=${dir}/bus.conf`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(daemon.stdout!, 'data');
  const client = createClient({ busAddress: address });
  const stops: (() => unknown)[] = [];
  t.teardown(async () => {
    client.connection.end();
    for (const stop of stops) await stop();
    daemon.kill();
    await rm(dir, { recursive: true });
  });
  const named = (name: string, there: boolean) =>
    new Promise<void>((resolve) => {
      const ask = async (): Promise<void> => {
        const owned = await client.invokeDbus<boolean>({
          member: 'NameHasOwner',
          signature: 's',
          body: [name],
        });
        if (owned === there) resolve();
        else setTimeout(ask, 20);
      };
      void ask();
    });
  return {
    address,
    /** Plays a service until the promise that it returns is called. */
    play: async (template: string, name: string) => {
      const child = spawn(python!, ['-m', 'dbusmock', '--system', '--template', template], {
        env: { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: address },
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      const stop = async () => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        child.kill();
        await once(child, 'exit');
      };
      stops.push(stop);
      await named(name, true);
      return stop;
    },
    call: <T = unknown>(
      destination: string,
      path: string,
      iface: string,
      member: string,
      signature = '',
      ...body: unknown[]
    ) => client.invoke<T>({ destination, path, interface: iface, member, signature, body }),
    watch: async () => {
      const seen: (Network | undefined)[] = [];
      let told = () => {};
      const stop = await watchNetworkBus({
        address,
        log,
        onChange: (network) => {
          seen.push(network);
          told();
        },
      });
      stops.unshift(stop);
      return {
        seen,
        until: (is: (network: Network | undefined) => boolean) =>
          new Promise<Network | undefined>((resolve) => {
            told = () => {
              if (seen.length > 0 && is(seen.at(-1))) resolve(seen.at(-1));
            };
            told();
          }),
      };
    },
  };
};

t.test('where there is no bus it is told once that nobody knows', async (t) => {
  const told: unknown[] = [];
  const stop = await watchNetworkBus({
    address: `unix:path=${testdir(t)}/none`,
    log,
    onChange: (network) => told.push(network),
  });
  stop();
  t.same(told, [undefined]);
});

t.test(
  'NetworkManager: Wi-Fi with its signal, metered, a captive portal, no way out',
  { skip },
  async (t) => {
    const bus = await privateBus(t);
    const network = await bus.watch();
    const stop = await bus.play('networkmanager', NM);
    const manager = '/org/freedesktop/NetworkManager';
    const mock = <T = unknown>(member: string, signature: string, ...body: unknown[]) =>
      bus.call<T>(NM, manager, MOCK, member, signature, ...body);
    const set = (path: string, iface: string, properties: Record<string, Variant>) =>
      bus.call(NM, path, MOCK, 'UpdateProperties', 'sa{sv}', iface, properties);

    const device = await mock<string>('AddWiFiDevice', 'ssi', 'mock0', 'wlan0', 100);
    const point = await mock<string>(
      ...([
        'AddAccessPoint',
        'ssssuuuyu',
        device,
        'ap0',
        'home',
        '00:11:22:33:44:55',
        2,
        2425,
        5400,
        62,
        0x100,
      ] as const),
    );
    const connection = await mock<string>('AddWiFiConnection', 'ssss', device, 'home', 'home', 'wpa-psk');
    const active = await mock<string>(
      'AddActiveConnection',
      'assssu',
      [device],
      connection,
      point,
      'active',
      2,
    );
    await bus.call(NM, device, MOCK, 'AddProperties', 'sa{sv}', `${NM}.Device.Wireless`, {
      ActiveAccessPoint: new Variant('o', point),
    });
    await bus.call(NM, manager, MOCK, 'AddProperties', 'sa{sv}', NM, {
      PrimaryConnection: new Variant('o', active),
      Metered: new Variant('u', 4),
    });
    await mock('SetConnectivity', 'u', 4);
    const wifi = await network.until((now) => now?.connectivity === 'full' && now.signal === 62);
    t.match(wifi, { interface: 'wlan0', kind: 'wifi', metered: false, roaming: false, by: 'networkmanager' });
    t.equal(networkWord(wifi, true), 'up');
    t.equal(inWords(wifi!), 'wifi wlan0, not metered, signal 62 %, connectivity full');

    await set(manager, NM, { Metered: new Variant('u', 3) });
    await network.until((now) => now?.metered === true);
    await set(point, `${NM}.AccessPoint`, { Strength: new Variant('y', 5) });
    t.equal(networkWord(await network.until((now) => now?.signal === 5), true), 'slow');
    await mock('SetConnectivity', 'u', 2);
    t.equal(networkWord(await network.until((now) => now?.connectivity === 'portal'), true), 'down');
    await mock('SetConnectivity', 'u', 1);
    const none = await network.until((now) => now?.connectivity === 'none');
    t.equal(networkWord(none, undefined), 'down');
    t.equal(networkWord({ ...none!, signal: undefined }, true), undefined, 'the kernel has a route');
    await stop();
    t.equal(await network.until((now) => now === undefined), undefined, 'it is gone, and nothing is known');
  },
);

t.test(
  'ModemManager: a modem that roams, without NetworkManager',
  { skip: skip || (!hasModems && 'this python-dbusmock has no template of ModemManager') },
  async (t) => {
    const bus = await privateBus(t);
    await bus.play('modemmanager', MM);
    const network = await bus.watch();
    const mock = (member: string, signature: string, ...body: unknown[]) =>
      bus.call(MM, '/org/freedesktop/ModemManager1', MOCK, member, signature, ...body);
    await mock('AddSimpleModem', '');
    const modem = '/org/freedesktop/ModemManager1/Modems/8';
    const set = (iface: string, properties: Record<string, Variant>) =>
      bus.call(MM, modem, MOCK, 'UpdateProperties', 'sa{sv}', iface, properties);
    await set(`${MM}.Modem`, {
      State: new Variant('i', 11),
      SignalQuality: new Variant('(ub)', [70, true]),
    });
    await bus.call(MM, modem, MOCK, 'AddProperties', 'sa{sv}', `${MM}.Modem.Modem3gpp`, {
      RegistrationState: new Variant('u', 1),
    });
    const home = await network.until((now) => now?.signal === 70);
    t.match(home, { kind: 'lte', metered: true, roaming: false, by: 'modemmanager' });
    await set(`${MM}.Modem.Modem3gpp`, { RegistrationState: new Variant('u', 5) });
    t.match(await network.until((now) => now?.roaming === true), { kind: 'lte' });
    await set(`${MM}.Modem`, { State: new Variant('i', 8) });
    t.equal(await network.until((now) => now === undefined), undefined);
  },
);
