// Raw headers: names and values in turn, as node:http and undici give them.

/** The value of the first header of this name (lower case); undefined when there is none. */
export function headerOf(headers: readonly string[], name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.toLowerCase() === name) return headers[i + 1];
  }
  return undefined;
}
