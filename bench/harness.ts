// Runs what is compared side by side: every round measures each subject once, so that a noisy machine is noisy for all of them,
// and the ratios hold. What is measured, and how, is for the benchmarks; how it is shown, for report.ts.

import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { machine } from './machine.ts';
import { intoMarkdown, type Result, type Row, table } from './report.ts';

export interface Subject {
  /** `layby`, a peer's name, or `limit`. */
  subject: string;
  /** What the table calls it; unique within its case. */
  label: string;
  /** Which way it is used, where there are several: part of the case in the JSON. */
  way?: string;
  metric: string;
  unit: string;
  /** Labels of what its median is divided by in the table. */
  ratioTo?: string[];
  /** `duration`: how long to measure, ms. */
  measure: (duration: number) => Promise<number>;
}

export interface Case {
  case: string;
  subjects: Subject[];
  /** One measurement is long enough to stand alone: no rounds, no warm-up. */
  once?: boolean;
  /** The subjects wait for something else than this machine: they are measured at the same time. */
  together?: boolean;
}

/** One line of the JSON. */
export interface Plan {
  rounds: number;
  /** Of one measurement, ms. */
  duration: number;
  /** Only cases whose name has this. */
  only: string | undefined;
  /** Where subjects keep their data; default: the system's temporary directory. */
  dir: string | undefined;
  /** Files to write. */
  json: string | undefined;
  markdown: string | undefined;
  /** Of the benchmark's own flags, those that were given. */
  flags: Set<string>;
  /** Of its own options, what was given. */
  options: Record<string, string | undefined>;
}

const FULL = { rounds: 5, duration: 2_000 };
const QUICK = { rounds: 2, duration: 500 };

const USAGE = `  --quick           ${QUICK.rounds} rounds of ${QUICK.duration / 1000} s instead of ${FULL.rounds} of ${FULL.duration / 1000} s
  --rounds N        rounds
  --only TEXT       only the cases with this text in their names
  --dir DIR         a directory on the disk to be measured (default: the system's temporary directory)
  --json FILE       write the results, as an array of {bench, case, subject, metric, unit, min, median, max}
  --markdown FILE   write the tables into this page: between its markers, or at its end`;

/** The common flags, and a benchmark's own: `own` take no value, `ownOptions` one. Ends the process on --help and on flags that do
 *  not exist. */
export function planFromArguments(own: string[] = [], ownOptions: string[] = []): Plan {
  try {
    const { values } = parseArgs({
      options: {
        ...Object.fromEntries(own.map((flag) => [flag, { type: 'boolean' as const }])),
        ...Object.fromEntries(ownOptions.map((option) => [option, { type: 'string' as const }])),
        quick: { type: 'boolean', default: false },
        rounds: { type: 'string' },
        only: { type: 'string' },
        dir: { type: 'string' },
        json: { type: 'string' },
        markdown: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      console.log(USAGE);
      process.exit(0);
    }
    const given: Record<string, string | boolean | undefined> = values;
    const { rounds, duration } = values.quick ? QUICK : FULL;
    return {
      rounds: values.rounds ? Math.max(1, Number.parseInt(values.rounds, 10)) : rounds,
      duration,
      only: values.only,
      dir: values.dir,
      json: values.json,
      markdown: values.markdown,
      flags: new Set(own.filter((flag) => flag in given)),
      options: Object.fromEntries(ownOptions.map((name) => [name, given[name] as string | undefined])),
    };
  } catch (error) {
    console.error(`${(error as Error).message}\n${USAGE}`);
    process.exit(2);
  }
}

const medianOf = (sorted: number[]): number => {
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

/** Each round goes through all subjects; one that is not counted comes first, to warm up. */
async function measureCase(
  bench: string,
  { case: name, subjects, once, together }: Case,
  plan: Plan,
): Promise<Row[]> {
  const values = subjects.map((): number[] => []);
  const rounds = once ? 1 : plan.rounds;
  for (let round = once ? 1 : 0; round <= rounds; round++) {
    process.stderr.write(`\r${name}: ${round === 0 ? 'warm-up' : `round ${round} of ${rounds}`}   `);
    const one = async ({ measure }: Subject, i: number): Promise<void> => {
      const value = await measure(round === 0 ? Math.min(500, plan.duration) : plan.duration);
      if (round > 0) values[i]!.push(value);
    };
    if (together) await Promise.all(subjects.map(one));
    else for (const [i, subject] of subjects.entries()) await one(subject, i);
  }
  process.stderr.write('\r\x1b[K');
  return subjects.map(({ subject, label, way, metric, unit, ratioTo = [] }, i) => {
    const sorted = values[i]!.sort((a, b) => a - b);
    const [min, median, max] = [sorted[0]!, medianOf(sorted), sorted.at(-1)!];
    return {
      label,
      ratioTo,
      result: { bench, case: way ? `${name}, ${way}` : name, subject, metric, unit, min, median, max },
    };
  });
}

/** Measures all cases, prints a table for each as it is done, and writes what `--json` and `--markdown` ask for.
 *  `parts`: versions of programs that took part, for the line about the machine. */
export async function runBench(
  bench: string,
  cases: Case[],
  plan: Plan,
  parts: Record<string, string>,
): Promise<Result[]> {
  const { only = '' } = plan;
  const wanted = cases.filter((one) => one.case.includes(only));
  if (wanted.length === 0) throw new Error(`no case has "${only}" in its name`);
  const about = `${await machine(plan.dir, parts)}; ${plan.rounds} interleaved rounds of ${plan.duration / 1000} s`;
  console.log(`${bench}: ${about}\n`);
  const tables: { title: string; rows: Row[] }[] = [];
  for (const one of wanted) {
    const rows = await measureCase(bench, one, plan);
    tables.push({ title: one.case, rows });
    console.log(`${table(one.case, rows)}\n`);
  }
  const results = tables.flatMap(({ rows }) => rows.map(({ result }) => result));
  if (plan.json) await writeFile(plan.json, `${JSON.stringify(results, undefined, 2)}\n`);
  if (plan.markdown) await intoMarkdown(plan.markdown, bench, about, tables);
  return results;
}
