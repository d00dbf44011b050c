// What kind of interface the default route leads to, from the kernel alone: /proc/net/route and sysfs. For machines without
// NetworkManager. It knows IPv4's main table; where the default route is elsewhere, it knows nothing.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LinkKind } from '../policy/policy.ts';
import { meteredByKind, type Network } from './network.ts';

/** DEVTYPE in uevent. An Ethernet card has none, and neither has a bridge, a veth or a tunnel. */
const KINDS: Readonly<Record<string, LinkKind>> = { wlan: 'wifi', wwan: 'lte' };
/** ARPHRD_PPP: modems that dial. */
const PPP = '512';

/** undefined: there is no default route, or no kernel that says so. Never rejects. `root`: of proc and sys. */
export async function readInterface(root = '/'): Promise<Network | undefined> {
  try {
    const routes = (await readFile(join(root, 'proc/net/route'), 'latin1')).split('\n').slice(1);
    const defaults = routes
      .map((line) => line.split('\t'))
      .filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
      .sort((a, b) => Number(a[6]) - Number(b[6]));
    const name = defaults[0]?.[0];
    if (name === undefined) return undefined;
    const of = join(root, 'sys/class/net', name);
    const [uevent, type] = await Promise.all([
      readFile(join(of, 'uevent'), 'latin1'),
      readFile(join(of, 'type'), 'latin1'),
    ]);
    const devtype = /^DEVTYPE=(.*)$/m.exec(uevent)?.[1];
    const kind = type.trim() === PPP ? 'lte' : devtype ? (KINDS[devtype] ?? 'other') : 'wired';
    return {
      interface: name,
      kind,
      metered: meteredByKind(kind),
      roaming: false,
      signal: undefined,
      connectivity: 'unknown',
      by: 'interfaces',
    };
  } catch {
    return undefined;
  }
}
