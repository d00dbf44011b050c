// A sidecar as `layby up` has it, for commands that look at a policy where nothing runs.

import type { Sidecar } from '../control-plane/resources/sidecar.ts';
import type { App } from '../policy/in-force.ts';
import type { Address } from '../wire/address.ts';

export const ASSUMED_QUEUE: Address = { unix: 'layby-data/run/queue.sock' };

export const assumedSidecar = (app: App, trustedCa = '/etc/ssl/certs/ca-certificates.crt'): Sidecar => ({
  outbound: { host: '127.0.0.1', port: 15001 },
  egress: { unix: 'layby-data/run/egress.sock' },
  app,
  trustedCa,
  discovery: 'aggregated',
});
