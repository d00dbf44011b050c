import httpx
from seen import pieces, tell, whole


def put(url, body, **options):
    return httpx.put(url, content=body, **options).status_code


tell(
    httpx,
    {
        "bytes": lambda url, path: put(url, whole(path)),
        "bytes, follow_redirects": lambda url, path: put(url, whole(path), follow_redirects=True),
        "generator": lambda url, path: put(url, pieces(path)),
        "generator, follow_redirects": lambda url, path: put(url, pieces(path), follow_redirects=True),
    },
)
