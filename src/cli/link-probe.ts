// The options of the probe, for `layby up` and for the control plane alone.

import { Option } from 'commander';
import { LaybyError } from '../telemetry/error.ts';

export const linkProbeOption = () =>
  new Option('--link-probe <url>', 'asked now and then whether the link works; costs bytes (default: none)');

export const linkProbeEveryOption = () =>
  new Option('--link-probe-every <duration>', 'between two probes').default('60s');

/** Errors: LAYBY_LINK_INVALID. */
export function probeUrl(text: string): string {
  if (URL.canParse(text) && /^https?:/.test(text)) return text;
  throw new LaybyError('LAYBY_LINK_INVALID', `${JSON.stringify(text)} is nothing that can be probed`, {
    remedy: 'write an http:// or https:// URL',
  });
}
