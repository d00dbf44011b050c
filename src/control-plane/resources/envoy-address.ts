// Layby's addresses as Envoy wants them.

import type { Address } from '../../wire/address.ts';

/** envoy.config.core.v3.Address */
export const envoyAddress = (address: Address) =>
  'unix' in address
    ? { pipe: { path: address.unix } }
    : { socket_address: { address: address.host, port_value: address.port } };
