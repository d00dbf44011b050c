// What bears credentials by its name: the one list, for what is shown and for who may read what waits. Of headers, and of the parameters of a URL.
// What has no such name (a token in a path) cannot be told from other text.

const SECRET = new RegExp(
  [
    'authori[sz]ation|authentication|(?:^|[-_.])auth(?:$|[-_.])',
    'cookie|session|sessid|(?:api|access|customer|private|shared)[-_]?key|token|secret|passw(?:or)?d|passphrase|credential|signature',
    '(?:^|[-_.])(?:jwt|otp|pwd|sig)$',
  ].join('|'),
  'i',
);
/** What is derived of a secret and says nothing of it. */
const HARMLESS = /-key-md5$|^x-amz-server-side-encryption-aws/i;

/** Whether a header of this name bears credentials. */
export const isSecret = (name: string): boolean => SECRET.test(name) && !HARMLESS.test(name);

/** Against forged requests: bears no credentials by itself, and may differ in each request. */
const AGAINST_FORGERY = /csrf|xsrf/i;

/** Whether a request header of this name says who asks. */
export const isCredential = (name: string): boolean => isSecret(name) && !AGAINST_FORGERY.test(name);

/** Names that are common words elsewhere, and credentials in a query. */
const SECRET_PARAMETER = /^(?:code|hmac|key|pass|sid|ticket)$/i;

/** In the place of what is not shown. */
export const HIDDEN = '(hidden)';

/** A parameter of a URL, also of one that is percent-encoded within another. A value ends with the next parameter, or with the URL. */
const PARAMETER =
  /([?&;]|%3[BF]|%26)((?:(?!%3[DF]|%26)[^=&;?#\s"'<>\\]){1,200})(=|%3D)((?:(?!%26|%23)[^&#\s"'<>\\])*)/gi;
const USERINFO = /(:\/\/)[^/?#\s"'<>\\]+@/g;

/** Text with the credentials taken out that stand in its URLs: the values of parameters whose names say so, and user and password before the
 *  host. The names stay, so that it can still be seen what was called. */
export const withoutSecrets = (text: string): string =>
  // A URL may be the value of a parameter; one within that is not looked for.
  hiding(text.replace(USERINFO, `$1${HIDDEN}@`), (value) => hiding(value, (inner) => inner));

const hiding = (text: string, other: (value: string) => string): string =>
  text.replace(PARAMETER, (_, separator: string, name: string, equals: string, value: string) => {
    const known = decoded(name);
    const secret = value !== '' && (isSecret(known) || SECRET_PARAMETER.test(known));
    return separator + name + equals + (secret ? HIDDEN : other(value));
  });

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
