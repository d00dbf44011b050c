import asyncio

import aiohttp
from seen import pieces, tell, whole


async def put(url, body):
    async with aiohttp.ClientSession() as session, session.put(url, data=body) as answer:
        await answer.read()
        return answer.status


async def generated(path):
    for piece in pieces(path):
        yield piece


tell(
    aiohttp,
    {
        "bytes": lambda url, path: asyncio.run(put(url, whole(path))),
        "async generator": lambda url, path: asyncio.run(put(url, generated(path))),
    },
)
