// Faults that Layby once had, each as a change of today's source: the simulation must find every one of them.

export interface Change {
  file: string;
  /** Occurs once. */
  text: string;
  by: string;
}

export interface Mutant {
  /** What is wrong then. */
  fault: string;
  changes: readonly Change[];
}

const LEDGER = 'src/replay/delivery-ledger.ts';
const LEDGERS = 'src/replay/delivery-ledgers.ts';

export const MUTANTS: readonly Mutant[] = [
  {
    fault: 'a lane that nobody has reported counts as empty',
    changes: [
      {
        file: 'src/control-plane/edge.ts',
        text: "pending: true, lane: 'unknown'",
        by: "pending: false, lane: 'unknown'",
      },
      { file: 'src/control-plane/edge.ts', text: '(remembered?.has(name) ?? false)', by: 'false' },
    ],
  },
  {
    fault: 'a dead letter that comes back makes a walk along the lane lose what is in between',
    changes: [
      { file: LEDGER, text: '    if (listing.stale) return false;\n', by: '' },
      { file: LEDGER, text: '    if (!complete || listing.stale) this.#more = true;', by: '' },
      {
        file: LEDGER,
        text: '      if (entry?.state === ',
        by: '      if (entry) this.begin();\n      else if (entry?.state === ',
      },
      { file: 'src/replay/lane-lister.ts', text: '    this.#compare(now);\n', by: '' },
    ],
  },
  {
    fault: 'a destination that is removed and added again forgets what is being delivered to it',
    changes: [
      {
        file: 'src/replay/replay.ts',
        text: '      this.#schedulers.delete(name);\n',
        by: '      this.#schedulers.delete(name);\n      this.#options.ledgers.forget(name);\n',
      },
      {
        file: LEDGERS,
        text: '  /** For the store: see `InFlight`. */',
        by: '  forget(name) {\n    this.old = [...(this.old ?? []), this.of(name)];\n    this.#ledgers.delete(name);\n  }\n',
      },
      {
        file: LEDGERS,
        text: '    for (const ledger of this.#ledgers.values()) if',
        by: '    for (const ledger of [...(this.old ?? []), ...this.#ledgers.values()]) if',
      },
      { file: 'src/replay/lane-lister.ts', text: "state: 'undelivered'", by: "state: 'stored'" },
    ],
  },
  {
    fault: 'the lane is read again and again while the next entry is known already',
    changes: [
      {
        file: LEDGER,
        text: '    this.#cursor = entry.seq;\n',
        by: '    if (!this.#byId.has(entry.id)) this.#cursor = entry.seq;\n',
      },
      { file: LEDGER, text: '    this.#more = false;\n    this.#listing =', by: '    this.#listing =' },
    ],
  },
  {
    fault: 'an entry that alone is refused is tried for ever',
    changes: [{ file: 'src/replay/give-up.ts', text: 'counted >= giveUpAfter;', by: 'false;' }],
  },
  {
    fault: 'an outage makes dead letters',
    changes: [
      {
        file: 'src/replay/refusals.ts',
        text: 'last === undefined || this.#deliveredAt <= last',
        by: 'last === undefined',
      },
    ],
  },
  {
    fault: 'an entry that is never taken holds up those of other keys',
    changes: [
      {
        file: 'src/replay/retry-budget.ts',
        text: '    if (!isRetry) return now >= this.#freshAt;\n',
        by: '    if (!isRetry) return now >= this.#freshAt && this.#window >= 1;\n',
      },
    ],
  },
  {
    fault: 'a client that hangs up leaves its order key closed',
    changes: [
      {
        file: 'src/queue/storing.ts',
        text: '    else turn();\n',
        by: '    else if (!arrival.signal.aborted) turn();\n',
      },
    ],
  },
];
