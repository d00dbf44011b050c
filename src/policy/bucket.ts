// The bucket in the name of a host: S3's virtual-host style, `clips.s3.example/key` for `s3.example/clips/key`. An S3 destination
// that names `*.s3.example` is called so; on its way out everything is path style, since its upstream has one name.

import type { Destination } from './policy.ts';
import { upstreamPath } from './upstream.ts';

/** The bucket in the name of an AWS host, also of a dual-stack, accelerated or regional one. */
const AWS_BUCKET = /^(.+)\.s3(?:-accelerate|-fips)?[.-]/;

/** The bucket in the host of the upstream's URL. */
export const upstreamBucket = ({ upstream }: Destination): string | undefined =>
  AWS_BUCKET.exec(new URL(upstream.url).hostname)?.[1];

/** Names of which the part before them is a bucket, the longest first. None where the destination is not S3, or has its bucket in the URL
 *  of its upstream. */
export const bucketHosts = (destination: Destination): string[] => {
  const { hosts, store, upstream } = destination;
  const speaksS3 = upstream.sign?.aws.service === 's3' || store.receipt === 's3';
  if (!speaksS3 || upstreamPath(destination) !== '' || upstreamBucket(destination) !== undefined) return [];
  return hosts
    .flatMap((host) => (host.startsWith('*.') ? host.slice(2) : []))
    .sort((a, b) => b.length - a.length);
};

/** The bucket that an authority names, and the host without it. */
const apart = (
  destination: Destination,
  authority: string,
): { bucket: string; host: string; port: string } | undefined => {
  const [, name, port = ''] = /^(.*?)\.?(:[0-9]*)?$/.exec(authority.toLowerCase())!;
  if (destination.hosts.includes(name!)) return undefined;
  const host = bucketHosts(destination).find((base) => name!.endsWith(`.${base}`));
  return host === undefined ? undefined : { bucket: name!.slice(0, -host.length - 1), host, port };
};

/** undefined: there is none in it. */
export const bucketInHost = (destination: Destination, authority: string): string | undefined =>
  apart(destination, authority)?.bucket;

/** The same object in path style: `http://host/bucket/key`. `url`: `http://authority/path?query`. */
export const pathStyle = (destination: Destination, url: string): string => {
  const at = url.indexOf('/', 'http://'.length);
  const found = apart(destination, url.slice('http://'.length, at));
  return found ? `http://${found.host}${found.port}/${found.bucket}${url.slice(at)}` : url;
};
