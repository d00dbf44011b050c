// Words and bars for a person at a terminal; plain lines where there is none. For the scripts only.

import { styleText } from 'node:util';

const tty = process.stdout.isTTY === true;
const WIDTH = 28;
/** A bar is drawn at most this often, ms. */
const DRAW_MS = 50;

type Style = Parameters<typeof styleText>[0];

/** Styled on a terminal that takes colours (NO_COLOR is heeded), plain elsewhere. */
export const styled = (style: Style, text: string): string =>
  styleText(style, text, { stream: process.stdout });

export const say = (text = ''): void => console.log(text);

export const MIB = 1024 * 1024;
export const mib = (bytes: number): string => `${(bytes / MIB).toFixed(0)} MiB`;

/** How far something has come: one line that is drawn again; without a terminal only its last state. */
export class Bar {
  #label: string;
  #total: number;
  #startedAt = performance.now();
  #drawnAt = Number.NEGATIVE_INFINITY;

  /** `total`: bytes. */
  constructor(label: string, total: number) {
    this.#label = label;
    this.#total = total;
  }

  at(bytes: number): void {
    if (!tty || performance.now() - this.#drawnAt < DRAW_MS) return;
    this.#drawnAt = performance.now();
    process.stdout.write(`\r\x1b[2K${this.#line(bytes)}`);
  }

  /** The last state, with what came of it. */
  done(outcome: string): void {
    const seconds = (performance.now() - this.#startedAt) / 1000;
    say(`${tty ? '\r\x1b[2K' : ''}${this.#line(this.#total)}  ${seconds.toFixed(1)} s  ${outcome}`);
  }

  #line(bytes: number): string {
    const part = Math.min(1, bytes / this.#total);
    const full = Math.round(part * WIDTH);
    const bar = `${styled('green', '█'.repeat(full))}${styled('dim', '░'.repeat(WIDTH - full))}`;
    return `  ${this.#label}  ${bar} ${String(Math.round(part * 100)).padStart(3)} %`;
  }
}
