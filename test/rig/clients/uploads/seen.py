# What an app in Python sees of its upload: see uploader.ts. argv is VARIANT URL FILE.
import json
import sys


def pieces(path):
    """As an app makes a body of which it does not know the length."""
    with open(path, "rb") as file:
        while piece := file.read(65536):
            yield piece


def whole(path):
    with open(path, "rb") as file:
        return file.read()


def tell(library, variants):
    """`variants`: by name, a function of URL and path that gives the status."""
    _, variant, url, path = sys.argv
    try:
        seen = {"status": variants[variant](url, path)}
    except Exception as error:
        seen = {"error": type(error).__name__, "words": str(error)}
    print(json.dumps({**seen, "version": library.__version__}))
