// Paths on the way out.

/** Everything that S3 signs as it stands, RFC 3986 section 2.3. */
const UNRESERVED = /[A-Za-z0-9\-._~]/;

/** The same path with one spelling for each byte: unreserved ones raw, all others as upper-case escapes. `/` stays. A
 *  signature over any other spelling would not match at the server. The query is left as it is. */
export const canonicalPath = (pathAndQuery: string): string => canonical(pathAndQuery, false);

/** The same for a path of S3, to which an escaped slash is a slash: it signs, and keeps, no other. */
export const objectPath = (pathAndQuery: string): string => canonical(pathAndQuery, true);

function canonical(pathAndQuery: string, unescapeSlash: boolean): string {
  const at = pathAndQuery.indexOf('?');
  const path = at < 0 ? pathAndQuery : pathAndQuery.slice(0, at);
  const query = at < 0 ? '' : pathAndQuery.slice(at);
  let out = '';
  for (let i = 0; i < path.length; i += 1) {
    const char = path[i]!;
    const escaped = char === '%' ? /^[0-9a-fA-F]{2}/.exec(path.slice(i + 1, i + 3)) : null;
    const byte = escaped ? Number.parseInt(escaped[0], 16) : char.charCodeAt(0) & 0xff;
    if (escaped) i += 2;
    const raw = String.fromCharCode(byte);
    out +=
      (raw === '/' && (unescapeSlash || !escaped)) || UNRESERVED.test(raw)
        ? raw
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out + query;
}
