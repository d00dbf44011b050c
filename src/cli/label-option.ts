import { InvalidArgumentError, Option } from 'commander';

/** What a sidecar is labelled with, as in `match.apps.labels` of the policy's rules; may be given more than once. */
export const labelOption = () =>
  new Option('--label <name=value>', 'a label of the sidecar, for rules by app; may be given more than once')
    .default([], 'none')
    .argParser((text, before: string[]) => {
      if (!/^[^=\s]+=\S*$/.test(text)) throw new InvalidArgumentError('expected NAME=VALUE');
      return [...before, text];
    });
