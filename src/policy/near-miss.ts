// Finds what someone probably meant, for "did you mean". Knows nothing of policies.

/** Edit distance with neighbours swapped counting as one edit (optimal string alignment). */
const distance = (a: string, b: string): number => {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let least = Math.min(change, last[j]! + 1, row[j - 1]! + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, beforeLast[j - 2]! + 1);
      row.push(least);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
};

// Longer names than these are no typing slip of ours, and the distance costs the product of the lengths.
const LONGEST = 64;

/** The candidate nearest to `found`, if it is near enough to have been meant: about one slip in three letters. */
export const nearMiss = (found: string, candidates: Iterable<string>): string | undefined => {
  if (found.length > LONGEST) return undefined;
  const plain = (name: string) => name.toLowerCase().replaceAll(/[_-]/g, '');
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const d = distance(plain(found), plain(candidate));
    if (d < bestDistance && d <= Math.max(1, Math.floor(candidate.length / 3))) {
      best = candidate;
      bestDistance = d;
    }
  }
  return best;
};
