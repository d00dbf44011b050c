// What a bucket with these keys lists: S3's rules in as few lines as they can be said.

const encoded = (text: string): string =>
  encodeURIComponent(text).replaceAll('%2F', '/').replaceAll('%20', '+');

const after = (name: string, marker: string): boolean =>
  Buffer.compare(Buffer.from(name), Buffer.from(marker)) > 0;

/** The answer to ListObjects and ListObjectsV2 at this path, with encoded names. */
export const listedBy = (keys: ReadonlySet<string>, path: string): string => {
  const query = new URLSearchParams(path.slice(path.indexOf('?') + 1));
  const isTwo = query.get('list-type') === '2';
  const [prefix, delimiter] = [query.get('prefix') ?? '', query.get('delimiter') ?? ''];
  const most = Number(query.get('max-keys') ?? 1000);
  const token = query.get('continuation-token');
  const marker = token
    ? Buffer.from(token, 'base64url').toString()
    : (query.get(isTwo ? 'start-after' : 'marker') ?? '');
  const names = new Map<string, boolean>();
  for (const key of [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
    if (!key.startsWith(prefix)) continue;
    const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
    const name = at < 0 ? key : key.slice(0, at + delimiter.length);
    const isPassed = at >= 0 && marker === name;
    if (after(key, marker) && !isPassed) names.set(name, at >= 0);
  }
  const page = [...names].slice(0, most);
  const last = page.at(-1)?.[0];
  const isTruncated = names.size > page.length && last !== undefined;
  return [
    '<?xml version="1.0"?><ListBucketResult><EncodingType>url</EncodingType>',
    `<IsTruncated>${isTruncated}</IsTruncated>`,
    isTruncated && isTwo
      ? `<NextContinuationToken>${Buffer.from(last).toString('base64url')}</NextContinuationToken>`
      : '',
    isTruncated && !isTwo ? `<NextMarker>${encoded(last)}</NextMarker>` : '',
    ...page
      .filter(([, isPrefix]) => !isPrefix)
      .map(
        ([name]) =>
          `<Contents><Key>${encoded(name)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;${'0'.repeat(32)}&quot;</ETag><Size>1</Size>${query.get('fetch-owner') === 'true' || !isTwo ? '<Owner><ID>owner</ID></Owner>' : ''}<StorageClass>STANDARD</StorageClass></Contents>`,
      ),
    ...page
      .filter(([, isPrefix]) => isPrefix)
      .map(([name]) => `<CommonPrefixes><Prefix>${encoded(name)}</Prefix></CommonPrefixes>`),
    '</ListBucketResult>',
  ].join('');
};

/** Keys and common prefixes of an answer, decoded and in their order. */
export const namesIn = (text: string): string[] =>
  [...text.matchAll(/<(?:Key|CommonPrefixes><Prefix)>([^<]*)</g)]
    .map(([, name]) => decodeURIComponent(name!.replaceAll('+', ' ')))
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
