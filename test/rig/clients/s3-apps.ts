// The S3 clients. Add one: an S3App in a file beside this one, and a word here.

import { awsSdk } from './aws-sdk.ts';
import { minioGo } from './minio-go.ts';
import { boto3, minioPy } from './on-python.ts';
import type { S3App } from './s3-app.ts';
import { awsCli, rclone } from './s3-programs.ts';

export const S3_APPS: readonly S3App[] = [boto3, awsSdk, awsCli, minioPy, minioGo, rclone];
