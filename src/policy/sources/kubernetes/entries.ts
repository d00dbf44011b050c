// Entries that are stored for one object on all nodes together. Pure.

import type { NodeView } from './status.ts';

export interface Entries {
  /** In whatever state. */
  stored: number;
  /** Of them, dead letters. */
  dead: number;
}

export const entriesOf = (nodes: readonly NodeView[]): Entries => {
  const sum = (field: 'entries' | 'dead') =>
    nodes.reduce((total, { report }) => total + (report?.[field] ?? 0), 0);
  return { stored: sum('entries'), dead: sum('dead') };
};
