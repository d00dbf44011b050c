// Paths on the way out.

/** Everything that S3 signs as it stands, RFC 3986 section 2.3. */
const UNRESERVED = /[A-Za-z0-9\-._~]/;

/** A path of S3 with one spelling for each byte, as it is signed (control-plane/resources/before-signing.ts): unreserved ones and `/` raw,
 *  all others as upper-case escapes. To S3 an escaped slash is a slash. The query is left as it is. */
export function objectPath(pathAndQuery: string): string {
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
    out += raw === '/' || UNRESERVED.test(raw) ? raw : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out + query;
}
