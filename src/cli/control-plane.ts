import { Command, Option } from 'commander';
import { parseDuration } from '../policy/units.ts';
import { logger } from '../telemetry/log.ts';
import { parseAddress } from '../wire/address.ts';
import { DEFAULT_ADMIN } from './admin-client.ts';
import { linkProbeEveryOption, linkProbeOption, probeUrl } from './link-probe.ts';
import { end, untilSignal } from './until-signal.ts';

interface RunOptions {
  policy: string[];
  data: string;
  xds: string;
  admin: string;
  queue: string;
  queueAdmin: string;
  expectSidecars: string;
  linkProbe?: string;
  linkProbeEvery: string;
}

export const controlPlaneCommand = () =>
  new Command('control-plane')
    .description('run the control plane')
    .addOption(
      new Option('--policy <file...>', 'policy files or directories').default([], 'the last good policy'),
    )
    .requiredOption('--data <dir>', 'where the last good policy is kept')
    .requiredOption('--xds <address>', 'where sidecars and the queue attach, HOST:PORT or unix:PATH')
    .option('--admin <host:port>', 'the admin listener', DEFAULT_ADMIN)
    .requiredOption('--queue <address>', 'where sidecars reach the queue')
    .requiredOption('--queue-admin <address>', "the queue's own admin listener")
    .option('--expect-sidecars <n>', 'sidecars without which it is not ready', '0')
    .addOption(linkProbeOption())
    .addOption(linkProbeEveryOption())
    .action(async (options: RunOptions) => {
      const signal = untilSignal();
      // Not before it is needed: other commands shall not wait for gRPC and protobuf to be loaded.
      const { startControlPlane } = await import('../control-plane/control-plane.ts');
      const controlPlane = await startControlPlane({
        policy: options.policy,
        dir: options.data,
        xds: parseAddress(options.xds, '--xds'),
        admin: parseAddress(options.admin, '--admin'),
        queue: parseAddress(options.queue, '--queue'),
        queueAdmin: parseAddress(options.queueAdmin, '--queue-admin'),
        expectSidecars: Number(options.expectSidecars),
        ...(options.linkProbe && {
          probe: { url: probeUrl(options.linkProbe), every: parseDuration(options.linkProbeEvery) },
        }),
        log: logger('control-plane'),
      });
      await signal;
      await end(() => controlPlane.close());
    });
