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
keys = asked["endpoint"].get("keys", {"id": "APPKEY", "secret": "app-secret"})


def client(**config):
    return boto3.client(
        "s3",
        endpoint_url=asked["endpoint"]["url"],
        region_name="us-east-1",
        aws_access_key_id=keys["id"],
        aws_secret_access_key=keys["secret"],
        config=Config(s3={"addressing_style": "path"}, **tries, **config),
    )


s3 = client()


def put(call):
    body = open(call["file"], "rb")
    body = body.read() if call["as"] == "bytes" else body
    said = {"Metadata": call.get("meta", {}), **call.get("more", {})}
    done = s3.put_object(Bucket=bucket, Key=call["key"], Body=body, **said)
    return {"etag": done["ETag"]}


def parts(call):
    named = {"Bucket": bucket, "Key": call["key"]}
    said = {"Metadata": call.get("meta", {}), **call.get("more", {})}
    named["UploadId"] = s3.create_multipart_upload(**named, **said)["UploadId"]
    body = open(call["file"], "rb").read()
    done = [
        {"PartNumber": number, "ETag": s3.upload_part(**named, PartNumber=number, Body=body)["ETag"]} for number in (1, 2)
    ]
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": done})
    return {}


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


def download(call):
    s3.download_file(bucket, call["key"], call["file"])
    body = open(call["file"], "rb").read()
    return {"etag": None, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def describe(call):
    named = {"Bucket": bucket, "Key": call["key"]}
    found = s3.get_object(**named)
    body = found["Body"].read()
    said = ["ContentType", "ContentEncoding", "ContentLanguage", "ContentDisposition", "CacheControl"]
    return {
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "meta": found["Metadata"],
        "tags": {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(**named)["TagSet"]},
        "said": {name: found[name] for name in said if found.get(name)},
    }


def presign(call):
    params = {"Bucket": bucket, "Key": call["key"], **call.get("params", {})}
    return {"url": client(signature_version=call["signature"]).generate_presigned_url(call["call"], Params=params)}


def form(call):
    return client(signature_version="s3v4").generate_presigned_post(bucket, call["key"])


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
    "parts": parts,
    "describe": describe,
    "presign": presign,
    "form": form,
    "upload": upload,
    "head": head,
    "get": get,
    "download": download,
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
