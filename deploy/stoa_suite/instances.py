"""The instances of a service: found by name, and asked whether they serve (grpc.health.v1, in plain text)."""
import concurrent.futures
import socket
import time

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, StreamEnded, StreamReset
from h2.exceptions import H2Error

from .names import resolve, shown

REQUEST = b"\0\0\0\0\0"  # a message of no bytes: the server as a whole
SERVING = b"\0\0\0\0\2\x08\1"  # HealthCheckResponse {status: SERVING}
# Of one question. With a second between two rounds, who is gone is found out within two.
ASK_SECONDS = 0.7


def conversation(connection, sock, end):
    """The bytes of the answer's messages."""
    body = b""
    while (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        data = sock.recv(65536)
        if not data:
            return body
        for event in connection.receive_data(data):
            if isinstance(event, DataReceived):
                body += event.data
            elif isinstance(event, (StreamEnded, StreamReset, ConnectionTerminated)):
                return body
        sock.sendall(connection.data_to_send())
    return b""


def is_serving(address):
    """Whether the server at (address, port) answers in time that it is ready."""
    end = time.monotonic() + ASK_SECONDS
    connection = H2Connection(H2Configuration(client_side=True))
    headers = (
        (":method", "POST"), (":scheme", "http"), (":authority", shown(address)),
        (":path", "/grpc.health.v1.Health/Check"), ("content-type", "application/grpc"), ("te", "trailers"),
    )
    connection.initiate_connection()
    connection.send_headers(1, headers)
    connection.send_data(1, REQUEST, end_stream=True)
    try:
        with socket.create_connection(address, ASK_SECONDS) as sock:
            sock.sendall(connection.data_to_send())
            return conversation(connection, sock, end) == SERVING
    except (OSError, H2Error):
        return False


class Instances:
    """Who serves, by service: places = {"auth": [("auth", 9001)], ...}."""

    def __init__(self, places):
        self._places = places
        self._known = {name: set() for name in places}
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=16)

    def look(self):
        """{"auth": [("192.0.2.7", 9001), ...], ...}, sorted: who is found and serves. When nobody of a service
        does, all that are found: their own answer is better than none."""
        resolved = {name: self._pool.submit(resolve, places) for name, places in self._places.items()}
        for name, future in resolved.items():
            # Who was there is asked even when its name is not to be had: names may fail, too.
            self._known[name] |= future.result()
        asked = {name: {each: self._pool.submit(is_serving, each) for each in known} for name, known in self._known.items()}
        serving = {}
        for name, answers in asked.items():
            who = {each for each, answer in answers.items() if answer.result()}
            found = resolved[name].result()
            serving[name] = sorted(who or found)
            self._known[name] = who | found
        return serving
