"""What names stand for: addresses, as nginx wants them and as it is told of them."""
import concurrent.futures
import re
import socket

# For the first look; later ones wait for nothing.
FIRST_SECONDS = 1


def place(text):
    """HOST:PORT as (host, port), or None."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", text)
    return (match[1].strip("[]"), int(match[2])) if match and 0 < int(match[2]) < 65536 else None


def shown(address):
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def resolve(places):
    """The addresses that names stand for now: [("auth", 9001)] -> {("192.0.2.7", 9001), ...}."""
    found = set()
    for host, port in places:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError):
            continue  # nobody has the name just now, or nobody answers for names: those known are still asked
        found.update(info[4][:2] for info in infos)
    return found


class Lookout:
    """What one name stood for when it last stood for anything: names may fail, and nobody waits for this one."""

    def __init__(self, where):
        self._where, self._known = where, []
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._asked = self._pool.submit(resolve, [where])
        concurrent.futures.wait([self._asked], FIRST_SECONDS)

    def look(self):
        """[("192.0.2.7", 4317), ...], sorted."""
        if self._asked.done():
            self._known = sorted(self._asked.result()) or self._known
            self._asked = self._pool.submit(resolve, [self._where])
        return self._known
