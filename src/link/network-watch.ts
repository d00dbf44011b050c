// What kind of link the way out is, from whoever knows best: NetworkManager or ModemManager on the system bus, else the kernel's
// interfaces, looked at when the kernel tells of a change and every half minute.

import type { Logger } from '../telemetry/log.ts';
import { readInterface } from './interfaces.ts';
import type { Network } from './network.ts';
import { watchNetworkBus } from './network-dbus.ts';

const LOOK_EVERY = 30_000;

export interface NetworkWatch {
  /** Looks at the interfaces now; the bus tells by itself. */
  look(): void;
  close(): Promise<void>;
}

/** `onChange` is called when the answer is another, and once as soon as both the bus and the kernel have answered; undefined: nobody
 *  knows. */
export function watchNetwork(log: Logger, onChange: (network: Network | undefined) => void): NetworkWatch {
  // null: it has not answered yet. What one of them says alone may be wrong: the kernel knows of no metered Wi-Fi.
  let byBus: Network | undefined | null = null;
  let byKernel: Network | undefined | null = null;
  let closed = false;
  let last: string | undefined;
  const tell = (): void => {
    if (byBus === null || byKernel === null) return;
    const network = byBus ?? byKernel;
    const now = JSON.stringify(network) ?? '';
    if (closed || now === last) return;
    last = now;
    onChange(network);
  };
  const look = async (): Promise<void> => {
    byKernel = await readInterface();
    tell();
  };
  const bus = watchNetworkBus({
    log,
    onChange: (network) => {
      byBus = network;
      tell();
    },
  });
  const timer = setInterval(() => void look(), LOOK_EVERY).unref();
  void look();
  return {
    look: () => void look(),
    async close() {
      closed = true;
      clearInterval(timer);
      (await bus)();
    },
  };
}
