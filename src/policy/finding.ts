// What is wrong with a document, and how a wrong value is shown.

import type { Path } from './documents.ts';

export interface Finding {
  path: Path;
  message: string;
  /** What the place of the finding is: a key that should not be there, or a value. */
  at: 'key' | 'value';
}

const FOUND_LENGTH = 60;

export const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const shown = (value: unknown): string => {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return value.length ? 'a list' : 'an empty list';
  if (typeof value === 'object') return 'a mapping';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > FOUND_LENGTH ? `${text.slice(0, FOUND_LENGTH)}…` : text;
};
