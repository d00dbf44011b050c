// Where the gRPC server of the control plane listens.

import * as grpc from '@grpc/grpc-js';
import { LaybyError } from '../../telemetry/error.ts';
import { type Address, formatAddress } from '../../wire/address.ts';
import { removeStaleSocket } from '../../wire/http.ts';

/** Binds; a port of 0 is replaced by the one that was given. Errors: LAYBY_ADDRESS_IN_USE. */
export async function bindGrpc(
  server: grpc.Server,
  address: Address,
  credentials = grpc.ServerCredentials.createInsecure(),
): Promise<Address> {
  await removeStaleSocket(address);
  const target = 'unix' in address ? `unix:${address.unix}` : formatAddress(address);
  try {
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync(target, credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
    );
    return 'unix' in address ? address : { host: address.host, port };
  } catch (error) {
    throw new LaybyError('LAYBY_ADDRESS_IN_USE', `cannot listen on ${formatAddress(address)}`, {
      remedy: 'is another Layby running? end it, or choose another address',
      cause: error,
    });
  }
}
