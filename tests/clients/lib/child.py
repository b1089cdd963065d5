"""pypomelo in a process of its own, told what to do by its parent.

JSON lines on standard input and output, the same as in child.cjs. The library is
unmodified; its only transport needs a Tornado of 2019, so that this brings one of its
own: a socket, with TLS if the order names whom to trust.
"""

import json
import selectors
import socket
import ssl
import sys
import time

from pypomelo.client import Client
from pypomelo.protocol import Protocol

HEADER = 4  # bytes
BEAT_AFTER = 1.0  # seconds after each heartbeat of the server


def up(**message):
    print(json.dumps(message), flush=True)


class SocketClient(Client):
    """The transport: bytes out, and whole packages in."""

    def __init__(self, handler):
        super().__init__(handler)
        self.socket = None
        self.buffer = b""

    def connect(self, host, port, ca=None):
        connection = socket.create_connection((host, port), timeout=10)
        if ca:
            context = ssl.create_default_context(cadata=ca)
            connection = context.wrap_socket(connection, server_hostname=host)
        self.socket = connection
        self.send_sync()

    def send(self, data):
        self.socket.sendall(data)

    def close(self):
        if self.socket:
            self.socket.close()
            self.socket = None
            self.handler.on_disconnect(self)

    def readable(self):
        try:
            data = self.socket.recv(65536)
            while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
                data += self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self.buffer += data
        while self.socket and len(self.buffer) >= HEADER:
            package = Protocol.unpack(self.buffer[:HEADER])
            end = HEADER + package.length
            if len(self.buffer) < end:
                return
            package.append(self.buffer[HEADER:end])
            self.buffer = self.buffer[end:]
            self.on_protocol(package)


class Child:
    """What the parent orders, and what the library's handler is told."""

    def __init__(self):
        self.client = None
        self.opening = None
        self.beat_at = None

    def do(self, order):
        getattr(self, "do_" + order["do"])(order)

    def do_open(self, order):
        self.client = SocketClient(self)
        self.opening = order["id"]
        self.client.connect(order["host"], order["port"], order.get("ca"))

    def do_request(self, order):
        def answered(_client, _route, _request, body):
            up(id=order["id"], body=dict(body))

        self.client.send_request(order["route"], order["body"], answered)

    def do_notify(self, order):
        self.client.send_notify(order["route"], order["body"])

    def do_close(self, order):
        self.client.close()
        up(id=order["id"], body=None)

    def on_connected(self, _client, _user):
        up(id=self.opening, body=None)

    def on_disconnect(self, _client):
        self.beat_at = None
        up(event="disconnect", body={})

    def on_heartbeat(self, _client):
        # The library leaves it to the application to answer, and when.
        self.beat_at = time.monotonic() + BEAT_AFTER

    def on_push(self, _client, route, body):
        # The library decodes every protobuf push into one and the same dict.
        up(event=route, body=dict(body))

    def beat_if_due(self):
        if self.beat_at and time.monotonic() >= self.beat_at:
            self.beat_at = None
            self.client.send_heartbeat()

    def run(self):
        # Unbuffered, so that what select says of it is true.
        orders, rest = open(0, "rb", buffering=0), b""
        while True:
            with selectors.DefaultSelector() as selector:
                selector.register(orders, selectors.EVENT_READ)
                if self.client and self.client.socket:
                    selector.register(self.client.socket, selectors.EVENT_READ)
                wait = None if self.beat_at is None else max(0, self.beat_at - time.monotonic())
                ready = [key.fileobj for key, _ in selector.select(wait)]
            self.attempt(self.beat_if_due)
            if orders in ready:
                data = orders.read(65536)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    order = json.loads(line)
                    self.attempt(lambda: self.do(order), order.get("id"))
            elif ready:
                self.attempt(self.client.readable)

    def attempt(self, act, order_id=None):
        try:
            act()
        except Exception as error:  # the library's, or the network's
            text = f"{type(error).__name__}: {error}"
            if order_id is None:
                up(event="threw", body=text)
            else:
                up(id=order_id, error=text)


up(event="started")
Child().run()
sys.exit(0)
