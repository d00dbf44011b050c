// What requests with one order key have in common, and what a read asks for.

/** Host in lower case without port, and path without query: the same resource, whatever the method. */
export function resourceOf(url: string): string {
  const match = /^http:\/\/([^/]*?)(?::\d+)?(\/[^?]*)/.exec(url);
  return match ? match[1]!.toLowerCase() + match[2]! : url;
}
