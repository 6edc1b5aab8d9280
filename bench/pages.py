#!/usr/bin/python3
"""Prints what a page of 20 articles costs by its depth, reached by cursor, and by the size of the table.

For each size a private suite is seeded; each list is read page by page to its end, and then the first page, the one
in the middle and the last are asked for again and again on one connection. A cell is the median latency in
milliseconds and the CPU microseconds of a request, of all of the suite's processes.

usage: bench/pages.py            (make bench-pages builds first)
Settings: BENCH_SIZES ("10000 100000 1000000") articles, BENCH_REQUESTS (1000) a cell.
"""

import http.client
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time
import urllib.parse

import bench

SIZES = [int(size) for size in os.environ.get("BENCH_SIZES", "10000 100000 1000000").split()]
REQUESTS = int(os.environ.get("BENCH_REQUESTS", "1000"))
WARMUP = 50
WALKED = 100  # articles a page, on the way to a depth
FOLLOWED = 20  # accounts, whose articles are the feed

LISTS = {
    "all": "/api/articles?",
    "by tag": "/api/articles?tag=tag042&",
    "by author": "/api/articles?author=writer42&",
    "favourites": "/api/articles?favorited=writer42&",
    "feed": "/api/articles/feed?",
}
DEPTHS = ("first", "middle", "last")


class Client:
    """One connection, signed in."""

    def __init__(self, suite, token):
        self._connection = http.client.HTTPConnection("127.0.0.1", suite.http, timeout=60)
        self._headers = {"Authorization": f"Token {token}"}

    def get(self, path):
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            bench.fail(f"{path}: {answer.status} {body[:200]}")
        return body


def page(path, token, size):
    begin = f"&page_token={urllib.parse.quote(token)}" if token else ""
    return f"{path}page_size={size}{begin}"


def depths(client, path):
    """The paths of the first, the middle and the last page, and how many articles the list has."""
    tokens, token, length = [], "", 0
    while token is not None:
        tokens.append(token)
        answer = json.loads(client.get(page(path, token, WALKED)))
        length += len(answer["articles"])
        token = answer.get("nextPageToken")
    # The last page that is full, so that all have the same work.
    last = tokens[-2] if len(tokens) > 1 else tokens[-1]
    return [page(path, each, 20) for each in ("", tokens[len(tokens) // 2], last)], length


def cost(suite, client, path):
    """(median milliseconds, CPU microseconds a request)"""
    for _ in range(WARMUP):
        client.get(path)
    before, times = sum(bench.cpu(bench.processes(), suite.roots()).values()), []
    for _ in range(REQUESTS):
        begin = time.perf_counter()
        client.get(path)
        times.append(time.perf_counter() - begin)
    spent = sum(bench.cpu(bench.processes(), suite.roots()).values()) - before
    return statistics.median(times) * 1e3, spent * 1e6 / REQUESTS


def measure(size):
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="stoa-bench-"))
    scratch.chmod(0o711)
    try:
        with bench.Suite(scratch) as suite:
            # Pages do not read comments; fewer of them make a large table sooner.
            suite.seed(SEED_ARTICLES=size, SEED_COMMENTS=0)
            client = Client(suite, suite.reader(f"writer{i}" for i in range(1, FOLLOWED + 1)))
            for name, path in LISTS.items():
                paths, length = depths(client, path)
                cells = [cost(suite, client, each) for each in paths]
                text = "".join(f"{ms:10.2f} ms {cpu:6.0f} µs" for ms, cpu in cells)
                print(f"{size:>9} {name:12} {length:>9} {text}", flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    print(f"{'articles':>9} {'list':12} {'length':>9} " + "".join(f"{depth + ' page':>22}" for depth in DEPTHS), flush=True)
    for size in SIZES:
        measure(size)


if __name__ == "__main__":
    sys.exit(main())
