// What a control plane without a cluster also knows of held deletions.

import { LaybyError } from '../../../telemetry/error.ts';

/** Below the data directory of the control plane. */
export const HELD_FILE = 'deletions-held.json';

export const nothingHeld = (): LaybyError =>
  new LaybyError('LAYBY_POLICY_NOTHING_HELD', 'no deletion of policy objects is held here', {
    remedy: '`layby status` says what is in force and why',
  });
