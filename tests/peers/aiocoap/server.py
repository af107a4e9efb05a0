"""A CoAP server of aiocoap's over DTLSSocket: `server.py PORT IDENTITY KEY` holds one resource that can be read and written, and
one that counts by itself."""

import asyncio
import sys

import aiocoap
from aiocoap import resource
from aiocoap.credentials import CredentialsMap


class Value(resource.Resource):
    value = b""

    async def render_get(self, request):
        return aiocoap.Message(payload=self.value)

    async def render_put(self, request):
        self.value = request.payload
        return aiocoap.Message(code=aiocoap.CHANGED)


class Ticks(resource.ObservableResource):
    count = 0

    def tick(self):
        self.count += 1
        self.updated_state()
        asyncio.get_running_loop().call_later(0.5, self.tick)

    async def render_get(self, request):
        return aiocoap.Message(payload=f"tick {self.count}".encode())


async def serve(port, identity, key):
    site = resource.Site()
    site.add_resource(["value"], Value())
    ticks = Ticks()
    ticks.tick()
    site.add_resource(["ticks"], ticks)
    credentials = CredentialsMap()
    psk = {"psk": {"ascii": key}, "client-identity": {"ascii": identity}}
    credentials.load_from_dict({":client": {"dtls": psk}})
    await aiocoap.Context.create_server_context(
        site,
        # DTLS is served at the port after this one.
        bind=("127.0.0.1", port - 1),
        server_credentials=credentials,
        transports=["tinydtls_server"],
    )
    print("ready", flush=True)
    await asyncio.get_running_loop().create_future()


port, identity, key = sys.argv[1:]
asyncio.run(serve(int(port), identity, key))
