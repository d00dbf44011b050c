// An app that uses S3 through its SDK: the same calls, whatever the SDK, so that what each sees can stand side by side.

/** `file`: the body is that file's. `as`: handed over whole, or as a stream of known length. */
export type Call =
  | ({ op: 'put'; key: string; file: string; as: 'bytes' | 'stream' } & Said)
  /** In two parts, by hand: each of them the file. */
  | ({ op: 'parts'; key: string; file: string } & Said)
  /** With the SDK's own upload manager, in parts where it thinks so. */
  | { op: 'upload'; key: string; file: string }
  | { op: 'head' | 'delete'; key: string }
  /** All that S3 says of it. */
  | { op: 'describe'; key: string }
  | { op: 'get'; key: string; range?: string }
  /** To this file, with the SDK's own download manager where it has one. */
  | { op: 'download'; key: string; file: string }
  | { op: 'list'; prefix: string }
  | { op: 'deleteMany'; keys: string[] }
  | { op: 'copy'; from: string; key: string }
  | { op: 'bucket' }
  /** The URL of a call, signed by the app: by Signature Version 4 (s3v4), or the one before it (s3). */
  | { op: 'presign'; signature: 's3v4' | 's3'; call: string; key: string; params?: Record<string, unknown> }
  /** A form for a browser, likewise. */
  | { op: 'form'; key: string };

/** Of an object, when it is made. */
export interface Said {
  meta?: Record<string, string>;
  /** As the SDKs call it: Tagging, ContentType, … */
  more?: Record<string, string>;
}

/** What the app gets of each. `error`: the code of S3, or the SDK's name for it. */
export type Result =
  | { etag: string | null; bytes?: number; sha256?: string; meta?: Record<string, string> }
  | { keys: string[] }
  | {
      bytes: number;
      sha256: string;
      meta: Record<string, string>;
      tags: Record<string, string>;
      said: Record<string, string>;
    }
  | { url: string; fields?: Record<string, string> }
  | { error: string; status: number; words?: string }
  | Record<string, never>;

export interface S3Endpoint {
  /** Path style. */
  url: string;
  bucket: string;
  /** The app's own, where it is to have real ones. */
  keys?: { id: string; secret: string };
  /** The SDK's own retries. Else it tries once, so that a test sees the first answer. */
  retries?: boolean;
  /** Put before the command line: in a namespace. */
  wrap?: readonly string[];
}

export interface S3App {
  name: string;
  /** Why it cannot be had here, or false. */
  skip: string | false;
  /** What it can be asked, where that is not all. */
  ops?: readonly Call['op'][];
  version(): Promise<string>;
  /** One after the other. */
  run(endpoint: S3Endpoint, calls: readonly Call[]): Promise<Result[]>;
}
