import requests
from seen import pieces, tell, whole


def put(url, body):
    return requests.put(url, data=body).status_code


def from_file(url, path):
    with open(path, "rb") as file:
        return put(url, file)


tell(
    requests,
    {
        "bytes": lambda url, path: put(url, whole(path)),
        "file": from_file,
        "generator": lambda url, path: put(url, pieces(path)),
    },
)
