// How a wrong policy is reported: every problem with its place, all at once, in one error.

import { LaybyError } from '../telemetry/error.ts';

export interface PolicyProblem {
  /** As it was given to parsePolicy; '' where no file is to blame. */
  file: string;
  /** From 1. */
  line: number;
  /** From 1, in UTF-16 units. */
  column: number;
  /** `spec.store.mode`, `spec.hosts[1]`; '' for the whole document. */
  path: string;
  message: string;
}

const lineOf = ({ file, line, column, path, message }: PolicyProblem): string =>
  `${file ? `${file}:${line}:${column}: ` : ''}${path ? `${path}: ` : ''}${message}`;

/** LAYBY_POLICY_INVALID. The message has one line per problem, `file:line:column: path: what is wrong`. */
export class PolicyError extends LaybyError {
  override name = 'PolicyError';
  readonly problems: readonly PolicyProblem[];

  constructor(problems: readonly PolicyProblem[]) {
    super('LAYBY_POLICY_INVALID', problems.map(lineOf).join('\n'), {
      remedy: 'correct the policy at these places; what was in force before stays in force',
    });
    this.problems = problems;
  }

  override get line(): string {
    return this.problems.length === 1 ? super.line : `${this.message}\n${this.remedy}`;
  }
}
