// The kind of the way out from the kernel's files alone.

import t from 'tap';
import { readInterface } from '../../src/link/interfaces.ts';
import { testdir } from '../rig/testdir.ts';

const HEAD = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';
const route = (name: string, metric: number, destination = '00000000', mask = '00000000') =>
  `${name}\t${destination}\t0100A8C0\t0003\t0\t0\t${metric}\t${mask}\t0\t0\t0\n`;
const root = (routes: string[], interfaces: Record<string, [devtype: string, type: number]>) => ({
  proc: { net: { route: HEAD + routes.join('') } },
  sys: {
    class: {
      net: Object.fromEntries(
        Object.entries(interfaces).map(([name, [devtype, type]]) => [
          name,
          { uevent: `${devtype && `DEVTYPE=${devtype}\n`}INTERFACE=${name}\nIFINDEX=2\n`, type: `${type}\n` },
        ]),
      ),
    },
  },
});

const all: Record<string, [string, number]> = {
  eth0: ['', 1],
  wlan0: ['wlan', 1],
  wwan0: ['wwan', 65534],
  ppp0: ['ppp', 512],
  br0: ['bridge', 1],
};

for (const [name, kind, metered] of [
  ['eth0', 'wired', false],
  ['wlan0', 'wifi', false],
  ['wwan0', 'lte', true],
  ['ppp0', 'lte', true],
  ['br0', 'other', false],
] as const)
  t.test(`a default route over ${name} is ${kind}`, async (t) => {
    const other = name === 'eth0' ? 'wlan0' : 'eth0';
    const dir = testdir(
      t,
      root([route(other, 600), route(name, 100), route(other, 0, '0000A8C0', '00FFFFFF')], all),
    );
    t.match(await readInterface(dir), { interface: name, kind, metered, connectivity: 'unknown' });
  });

t.test('without a default route, or without Linux, nothing is known', async (t) => {
  t.equal(await readInterface(testdir(t, root([], all))), undefined);
  t.equal(await readInterface(testdir(t, { empty: {} })), undefined);
});
