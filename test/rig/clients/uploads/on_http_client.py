import http.client
import platform
from urllib.parse import urlsplit

from seen import pieces, tell, whole


def put(url, body):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80)
    connection.request("PUT", parts.path, body)
    return connection.getresponse().status


def from_file(url, path):
    with open(path, "rb") as file:
        return put(url, file)


http.client.__version__ = platform.python_version()
tell(
    http.client,
    {
        "bytes": lambda url, path: put(url, whole(path)),
        "file": from_file,
        "generator": lambda url, path: put(url, pieces(path)),
    },
)
