"""An observer of aiocoap's: `observe.py URI IDENTITY KEY` prints each representation in a line, for as long as it is let.

`aiocoap-client --observe` (0.4.17) gives its observation up with the first response.
"""

import asyncio
import sys

import aiocoap


async def observe(uri, identity, key):
    context = await aiocoap.Context.create_client_context()
    psk = {"psk": {"ascii": key}, "client-identity": {"ascii": identity}}
    context.client_credentials.load_from_dict({"coaps://*": {"dtls": psk}})
    request = context.request(aiocoap.Message(code=aiocoap.GET, uri=uri, observe=0))
    print((await request.response).payload.decode(), flush=True)
    async for notification in request.observation:
        print(notification.payload.decode(), flush=True)


asyncio.run(observe(*sys.argv[1:]))
