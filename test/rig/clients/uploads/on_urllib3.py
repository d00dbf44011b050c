import urllib3
from seen import pieces, tell, whole


def put(url, body):
    return urllib3.PoolManager().request("PUT", url, body=body).status


def from_file(url, path):
    with open(path, "rb") as file:
        return put(url, file)


tell(
    urllib3,
    {
        "bytes": lambda url, path: put(url, whole(path)),
        "file": from_file,
        "generator": lambda url, path: put(url, pieces(path)),
    },
)
