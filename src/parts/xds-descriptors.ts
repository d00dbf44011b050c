// Where the xDS descriptors are: named by the operator, packaged with the built program, or made from the wheel of xds-protos.
// None of the protos' text is in the repository. Reading messages by them is for src/control-plane/xds.

import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LaybyError } from '../telemetry/error.ts';
import { TRIM_VERSION, trim, XDS_ROOTS } from './descriptor-closure.ts';
import { type FetchOptions, fetchPart } from './fetch.ts';
import { LOCK, wheelHash } from './lock.ts';
import { runPython } from './python.ts';

/** Each generated module of the wheel has one literal, `AddSerializedFile(b'…')`, its FileDescriptorProto. Read with `ast`: no module of
 *  the wheel is run, and protobuf need not be installed. Written as field 1 (length-delimited) of a FileDescriptorSet. */
const COLLECT = `
import ast, sys, zipfile

def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)

with zipfile.ZipFile(sys.argv[1]) as wheel, open(sys.argv[2], 'wb') as out:
    for name in wheel.namelist():
        if not name.endswith('_pb2.py'):
            continue
        for node in ast.walk(ast.parse(wheel.read(name))):
            if isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'AddSerializedFile':
                file = ast.literal_eval(node.args[0])
                out.write(b'\\n' + varint(len(file)) + file)
`;

/** Part of the name in the cache, so that a Layby with other roots does not take an older one's set. */
const variantOf = (hash: string): string =>
  createHash('sha256')
    .update([hash, TRIM_VERSION, COLLECT, ...XDS_ROOTS.map(String)].join('\n'))
    .digest('hex')
    .slice(0, 8);

/** Beside the built code; `npm run build` puts it there so that an installed Layby needs no Python for it. */
const PACKAGED = fileURLToPath(new URL('../xds.binpb', import.meta.url));

/** The path of a serialized google.protobuf.FileDescriptorSet of XDS_ROOTS, complete and in the order of imports: the packaged one,
 *  else the cache, else made from a fetched wheel. Rejects with what fetchPart says, and LAYBY_XDS_INVALID. */
export const fetchXdsDescriptors = (options: FetchOptions = {}): Promise<string> => {
  const part = options.part ?? LOCK.xds;
  const orElse = 'set LAYBY_XDS_DESCRIPTORS to a FileDescriptorSet of the xDS protos';
  return fetchPart({
    ...options,
    part,
    orElse,
    variant: variantOf(wheelHash(part, 'any') ?? ''),
    unpack: async (wheel, directory) => {
      const all = join(directory, '.download', 'all.binpb');
      const { code, stderr } = await runPython(['-c', COLLECT, wheel, all], {
        ...(options.env && { env: options.env }),
        orElse,
      });
      const set = code === 0 ? await readFile(all) : undefined;
      if (!set?.length) {
        const why = stderr.trim().split('\n').at(-1) || 'there are no xDS descriptors in it';
        const message = `the wheel of ${part.package} could not be read: ${why}`;
        throw new LaybyError('LAYBY_XDS_INVALID', message, { remedy: orElse });
      }
      await writeFile(join(directory, part.file), trim(set));
    },
  });
};

export interface FindXdsOptions extends FetchOptions {
  /** Instead of the place beside the built code. */
  packaged?: string;
}

/** The bytes of a serialized google.protobuf.FileDescriptorSet: of the file that $LAYBY_XDS_DESCRIPTORS names, else the packaged one,
 *  else the cache, else fetched. Rejects with LAYBY_XDS_NOT_FOUND where the named one cannot be read, and what
 *  fetchXdsDescriptors says. */
export const findXdsDescriptors = async (options: FindXdsOptions = {}): Promise<Uint8Array> => {
  const named = (options.env ?? process.env).LAYBY_XDS_DESCRIPTORS;
  if (named) {
    return readFile(named).catch((cause) => {
      throw new LaybyError(
        'LAYBY_XDS_NOT_FOUND',
        `LAYBY_XDS_DESCRIPTORS names ${named}, which cannot be read`,
        {
          remedy: 'name a FileDescriptorSet, or none: then Layby takes its own',
          cause,
        },
      );
    });
  }
  const packaged = await readFile(options.packaged ?? PACKAGED).catch(() => undefined);
  return packaged ?? readFile(await fetchXdsDescriptors(options));
};
