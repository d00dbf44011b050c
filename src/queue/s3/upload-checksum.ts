// What is said of checksums while an upload in parts is made: which algorithm and type it has, and the checksum of the whole at its end,
// where it is known without reading the body again.

import type { IncomingHttpHeaders } from 'node:http';
import { element, refuse } from './answer.ts';
import { CHECKSUM, checksumOfParts } from './checksums.ts';
import type { PartNamed } from './xml.ts';

export type ChecksumType = 'COMPOSITE' | 'FULL_OBJECT';

/** What CreateMultipartUpload asked for. */
export interface UploadChecksum {
  /** `CRC32C` and the like. */
  algorithm: string;
  type: ChecksumType;
}

const ALGORITHM = 'x-amz-checksum-algorithm';
const TYPE = 'x-amz-checksum-type';

/** `undefined`: it asked for none, or for one that only S3 knows. `said`: the value of a header. Throws S3Refused. */
export const uploadChecksumOf = (said: (name: string) => string | undefined): UploadChecksum | undefined => {
  const algorithm = said(ALGORITHM)?.toUpperCase();
  const type = said(TYPE)?.toUpperCase();
  if (type !== undefined && type !== 'COMPOSITE' && type !== 'FULL_OBJECT')
    throw refuse(400, 'InvalidRequest', `Value for ${TYPE} header is invalid.`);
  if (algorithm === undefined) return undefined;
  if (!CHECKSUM.test(`x-amz-checksum-${algorithm.toLowerCase()}`)) return undefined;
  const isHash = algorithm.startsWith('SHA');
  const preset = algorithm === 'CRC64NVME' ? 'FULL_OBJECT' : 'COMPOSITE';
  if ((isHash && type === 'FULL_OBJECT') || (algorithm === 'CRC64NVME' && type === 'COMPOSITE'))
    throw refuse(
      400,
      'InvalidRequest',
      `The ${type} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`,
    );
  return { algorithm, type: type ?? preset };
};

export const uploadChecksumHeaders = (checksum: UploadChecksum | undefined): Record<string, string> =>
  checksum ? { [ALGORITHM]: checksum.algorithm, [TYPE]: checksum.type } : {};

/** Elements of CompleteMultipartUpload's result: the checksum that the client gave of the whole, or that its parts make. `created`: where it
 *  is known what the upload was begun with. */
export const completedChecksum = async (
  headers: IncomingHttpHeaders,
  parts: readonly PartNamed[],
  created?: UploadChecksum,
): Promise<string> => {
  const xml = (algorithm: string, value: string, type: ChecksumType): string =>
    element(`Checksum${algorithm.toUpperCase()}`, value) + element('ChecksumType', type);
  for (const [name, value] of Object.entries(headers)) {
    const algorithm = CHECKSUM.exec(name)?.[1];
    if (algorithm !== undefined && typeof value === 'string')
      return xml(algorithm, value, value.includes('-') ? 'COMPOSITE' : 'FULL_OBJECT');
  }
  const type = created?.type ?? headers[TYPE];
  const [named] = parts[0]?.checksums.keys() ?? [];
  const algorithm = named?.slice('Checksum'.length).toLowerCase() ?? '';
  if (type !== 'COMPOSITE' || !CHECKSUM.test(`x-amz-checksum-${algorithm}`)) return '';
  const values = parts.map(({ checksums }) => checksums.get(named!) ?? '');
  const whole = await checksumOfParts(algorithm, values);
  return whole === undefined ? '' : xml(algorithm, whole, type);
};
