# An app on boto3: see s3-app.ts. argv[1] is {"endpoint": {"url", "bucket"}, "calls": [...]}; prints the results.
import hashlib
import json
import sys

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

asked = json.loads(sys.argv[1])
bucket = asked["endpoint"]["bucket"]
tries = {} if asked["endpoint"].get("retries") else {"retries": {"total_max_attempts": 1}}
s3 = boto3.client(
    "s3",
    endpoint_url=asked["endpoint"]["url"],
    region_name="us-east-1",
    aws_access_key_id="APPKEY",
    aws_secret_access_key="app-secret",
    config=Config(s3={"addressing_style": "path"}, **tries),
)


def put(call):
    body = open(call["file"], "rb")
    body = body.read() if call["as"] == "bytes" else body
    done = s3.put_object(Bucket=bucket, Key=call["key"], Body=body, Metadata=call.get("meta", {}))
    return {"etag": done["ETag"]}


def upload(call):
    s3.upload_file(call["file"], bucket, call["key"], Config=TransferConfig(max_concurrency=2))
    return {}


def head(call):
    found = s3.head_object(Bucket=bucket, Key=call["key"])
    return {"etag": found["ETag"], "bytes": found["ContentLength"], "meta": found["Metadata"]}


def get(call):
    wanted = {"Range": call["range"]} if "range" in call else {}
    found = s3.get_object(Bucket=bucket, Key=call["key"], **wanted)
    body = found["Body"].read()
    return {"etag": found["ETag"], "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def listed(call):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=call["prefix"], PaginationConfig={"PageSize": 2})
    return {"keys": [found["Key"] for page in pages for found in page.get("Contents", [])]}


def delete(call):
    s3.delete_object(Bucket=bucket, Key=call["key"])
    return {}


def delete_many(call):
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in call["keys"]]})
    return {"keys": sorted(found["Key"] for found in done.get("Deleted", []))}


def copy(call):
    s3.copy_object(Bucket=bucket, Key=call["key"], CopySource={"Bucket": bucket, "Key": call["from"]})
    return {}


def head_bucket(call):
    s3.head_bucket(Bucket=bucket)
    return {}


OPS = {
    "put": put,
    "upload": upload,
    "head": head,
    "get": get,
    "list": listed,
    "delete": delete,
    "deleteMany": delete_many,
    "copy": copy,
    "bucket": head_bucket,
}

results = []
for call in asked["calls"]:
    try:
        results.append(OPS[call["op"]](call))
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        results.append({"error": error.response["Error"]["Code"], "status": status})
    except (S3UploadFailedError, BotoCoreError) as error:
        results.append({"error": type(error).__name__, "status": 0, "words": str(error)})
print(json.dumps(results))
