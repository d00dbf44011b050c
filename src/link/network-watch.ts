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

/** `onChange` is called when the answer is another; undefined: nobody knows. */
export function watchNetwork(log: Logger, onChange: (network: Network | undefined) => void): NetworkWatch {
  let byBus: Network | undefined;
  let byKernel: Network | undefined;
  let closed = false;
  let last = '';
  const tell = (): void => {
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
