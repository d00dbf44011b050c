// Text that others have written (the answer of a destination, what an app called) where it is shown: in a table, a log, an error, the audit
// trail. Line breaks would tear a table, and control characters would reach the terminal of an operator.

/** Characters of the answer of a destination. */
const MOST = 300;

/** White space, control and formatting characters become one space; what is longer is cut, with an ellipsis. */
export function oneLine(text: string, most = MOST): string {
  // Longer ones are cut first: they may be megabytes.
  const start = most < text.length / 8 ? text.slice(0, most * 8) : text;
  const line = start
    .replace(/[\s\p{Cc}\p{Cf}]+/gu, ' ')
    .trim()
    .toWellFormed();
  return line.length <= most ? line : `${line.slice(0, most - 1).toWellFormed()}…`;
}
