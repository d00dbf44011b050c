// The one error class of Layby. What a person reads is `message` and then `remedy`; what a program matches is `code`.
// Every code is listed in docs/errors.md.

export interface LaybyErrorOptions {
  /** What the reader should do next, one sentence. */
  remedy?: string;
  cause?: unknown;
}

/** An error as the admin listener says it. */
export interface ErrorView {
  code: string;
  message: string;
  remedy?: string;
}

export class LaybyError extends Error {
  override name = 'LaybyError';
  /** Stable, `LAYBY_` and upper snake case. */
  readonly code: string;
  readonly remedy: string | undefined;

  constructor(code: string, message: string, options: LaybyErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy;
  }

  /** One line for a terminal: what happened, and what to do. */
  get line(): string {
    return this.remedy ? `${this.message}: ${this.remedy}` : this.message;
  }

  /** For a program that asks over HTTP: what it prints of it needs no class. */
  toJSON(): ErrorView {
    const { code, message, remedy } = this;
    return { code, message, ...(remedy !== undefined && { remedy }) };
  }
}

/** What was thrown, for a program that asks over HTTP; LAYBY_INTERNAL: no error of ours. */
export const viewOf = (thrown: unknown): ErrorView =>
  thrown instanceof LaybyError ? thrown.toJSON() : { code: 'LAYBY_INTERNAL', message: messageOf(thrown) };

/** The message of anything that was thrown. */
export const messageOf = (thrown: unknown): string =>
  thrown instanceof Error ? thrown.message : String(thrown);
