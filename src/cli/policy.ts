// The commands of `layby policy`. What they do is in a file each, and loaded when one is run: other commands shall not wait for it.

import { Command, Option } from 'commander';
import { adminOption, ask } from './admin-client.ts';
import { labelOption } from './label-option.ts';
import type { CheckOptions } from './policy-check.ts';
import type { DiffOptions } from './policy-diff.ts';
import type { DumpOptions } from './policy-dump.ts';
import type { ExplainOptions } from './policy-explain.ts';

const policyOption = () =>
  new Option(
    '--policy <file...>',
    'policy files or directories, instead of what is in force in a running mesh',
  );

export const policyCommand = () =>
  new Command('policy')
    .description('check, compare and explain the policy: of files, or of a running mesh')
    .addCommand(checkCommand())
    .addCommand(diffCommand())
    .addCommand(explainCommand())
    .addCommand(dumpCommand())
    .addCommand(acceptDeletionsCommand());

const checkCommand = () =>
  new Command('check')
    .description(
      'whether policy files are right: every problem with its place; exit code 1 where there is one',
    )
    .argument('<file...>', 'policy files or directories, which make one policy together')
    .option(
      '--envoy <path>',
      'the Envoy that is asked (default: $ENVOY, else on the PATH, else the one fetched before)',
    )
    .option('--no-envoy', 'do not ask Envoy')
    .option('--json', 'for programs')
    .action(async (files: string[], options: CheckOptions) => {
      const { check } = await import('./policy-check.ts');
      await check(files, options);
    });

const diffCommand = () =>
  new Command('diff')
    .description('what an edited policy would change, and on which sidecars')
    .argument('<old-or-new>', 'a policy file or directory; alone it is compared with what is in force')
    .argument('[new]', 'the policy file or directory that it is compared with')
    .option('--node <id>', 'of the sidecar that is assumed, where two files are compared', 'local')
    .addOption(labelOption())
    .option('--json', 'for programs')
    .addOption(adminOption())
    .action(async (first: string, second: string | undefined, options: DiffOptions) => {
      const { diff } = await import('./policy-diff.ts');
      await diff(first, second, options);
    });

const explainCommand = () =>
  new Command('explain')
    .description('what happens to a request, with a link and without, and why')
    .argument('<url>', 'as an app calls it, http://HOST/PATH')
    .option('--method <method>', 'of the request', 'PUT')
    .option('--app <node>', 'the sidecar of the app (default: the only one there is)')
    .addOption(labelOption())
    .addOption(policyOption())
    .option('--json', 'for programs')
    .addOption(adminOption())
    .action(async (url: string, options: ExplainOptions) => {
      const { explainUrl } = await import('./policy-explain.ts');
      await explainUrl(url, options);
    });

const dumpCommand = () =>
  new Command('dump')
    .description("what a sidecar's Envoy gets of the policy: clusters, listeners and routes, as YAML")
    .argument('<node>', 'the node id of the sidecar; `local` is that of `layby up`')
    .addOption(policyOption())
    .addOption(labelOption())
    .option('--json', 'JSON instead')
    .addOption(adminOption())
    .action(async (node: string, options: DumpOptions) => {
      const { dump } = await import('./policy-dump.ts');
      await dump(node, options);
    });

const acceptDeletionsCommand = () =>
  new Command('accept-deletions')
    .description('let go of what the cluster has deleted at once and the control plane still holds in force')
    .option('--json', 'for programs')
    .addOption(adminOption())
    .action(async ({ admin, json }: { admin: string; json?: boolean }) => {
      const answer = await ask<{ accepted: string[] }>(admin, 'POST', '/v1/policy/accept-deletions');
      if (json) console.log(JSON.stringify(answer, undefined, 2));
      else for (const key of answer.accepted) console.log(`no longer in force: ${key}`);
    });
