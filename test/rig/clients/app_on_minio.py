# An app on minio-py: see s3-app.ts. argv[1] is {"endpoint": {"url", "bucket"}, "calls": [...]}; prints the results.
import hashlib
import json
import os
import sys
from urllib.parse import urlsplit

from minio import Minio
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

asked = json.loads(sys.argv[1])
bucket = asked["endpoint"]["bucket"]
s3 = Minio(
    urlsplit(asked["endpoint"]["url"]).netloc,
    access_key="APPKEY",
    secret_key="app-secret",
    secure=False,
)


def put(call):
    with open(call["file"], "rb") as body:
        done = s3.put_object(bucket, call["key"], body, os.path.getsize(call["file"]))
    return {"etag": done.etag}


def upload(call):
    s3.fput_object(bucket, call["key"], call["file"], part_size=5 * 1024 * 1024)
    return {}


def head(call):
    found = s3.stat_object(bucket, call["key"])
    return {"etag": found.etag, "bytes": found.size}


def get(call):
    found = s3.get_object(bucket, call["key"])
    try:
        body = found.read()
    finally:
        found.close()
        found.release_conn()
    return {"etag": found.headers["etag"], "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def listed(call):
    return {"keys": [found.object_name for found in s3.list_objects(bucket, call["prefix"], recursive=True)]}


def delete(call):
    s3.remove_object(bucket, call["key"])
    return {}


OPS = {"put": put, "upload": upload, "head": head, "get": get, "list": listed, "delete": delete}

results = []
for call in asked["calls"]:
    try:
        results.append(OPS[call["op"]](call))
    except S3Error as error:
        results.append({"error": error.code, "status": error.response.status})
    except (MinioException, HTTPError, ValueError, OSError) as error:
        results.append({"error": type(error).__name__, "status": 0, "words": str(error)})
print(json.dumps(results))
