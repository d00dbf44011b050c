// Damage to files as disks and people do it: a flipped bit, wrong bytes, zeros, a file cut short or gone.

import { readFileSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { between } from './random.ts';

const WAYS = ['flip', 'bytes', 'zero', 'truncate', 'empty', 'remove'] as const;

/** Damages a file, and says how in words. */
export const damage = (path: string, random: () => number): string => {
  const content = readFileSync(path);
  const way = WAYS[between(random, [0, 99]) < 94 ? between(random, [0, 3]) : between(random, [4, 5])]!;
  // Half of the places are near an end: that is where headers and indexes are.
  const near = Math.min(content.length, 256);
  const spots = [
    between(random, [0, content.length - 1]),
    content.length - 1 - between(random, [0, near]),
    between(random, [0, near]),
  ];
  const at = Math.max(0, spots[between(random, [0, 2])]!);
  if (way === 'empty' || content.length === 0) truncateSync(path, 0);
  else if (way === 'remove') unlinkSync(path);
  else if (way === 'truncate') truncateSync(path, at);
  else {
    if (way === 'flip') content[at]! ^= 1 << between(random, [0, 7]);
    const end = Math.min(content.length, at + between(random, way === 'bytes' ? [1, 16] : [64, 8192]));
    if (way === 'zero') content.fill(0, at, end);
    if (way === 'bytes') for (let i = at; i < end; i++) content[i] = between(random, [0, 255]);
    writeFileSync(path, content);
  }
  return `${way} at ${at} of ${content.length}`;
};
