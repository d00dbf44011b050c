// The last events of a simulation, and a digest of all of them: two runs with one seed have the same digest.

export class Trace {
  readonly #lines: { at: number; label: string }[] = [];
  readonly #size: number;
  #count = 0;
  #digest = 0x811c9dc5;

  constructor(size: number) {
    this.#size = size;
  }

  add(at: number, label: string): void {
    this.#lines[this.#count % this.#size] = { at, label };
    this.#count++;
    this.#mix(Math.floor(at * 1000) | 0);
    for (let i = 0; i < label.length; i++) this.#mix(label.charCodeAt(i));
  }

  #mix(value: number): void {
    this.#digest = Math.imul(this.#digest ^ value, 0x01000193);
  }

  /** Lines so far. */
  get count(): number {
    return this.#count;
  }

  /** Over all lines: their number and an FNV-1a hash. */
  get digest(): string {
    return `${this.#count}-${(this.#digest >>> 0).toString(16).padStart(8, '0')}`;
  }

  /** The last lines, the oldest first: virtual time in ms and the label. */
  get lines(): string[] {
    const from = Math.max(0, this.#count - this.#size);
    return Array.from({ length: this.#count - from }, (_, i) => {
      const { at, label } = this.#lines[(from + i) % this.#size]!;
      return `${at.toFixed(3).padStart(14)}  ${label}`;
    });
  }

  /** How often each label is among the last lines, the most frequent first. */
  histogram(limit: number): string[] {
    const counts = new Map<string, number>();
    for (const { label } of this.#lines) counts.set(label, (counts.get(label) ?? 0) + 1);
    return [...counts]
      .sort(([, one], [, other]) => other - one)
      .slice(0, limit)
      .map(([label, count]) => `${count} × ${label}`);
  }
}
