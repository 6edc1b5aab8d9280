"""What /metrics says, read with Prometheus' own parser."""
import http.client
import socket

from prometheus_client.parser import text_string_to_metric_families
from stoa_suite_fixture import wait_until

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Numbers:
    """get(name, **labels): a sample's value, 0 when it is not there; names are without the prefix."""

    def __init__(self, text, prefix=""):
        self._prefix = prefix
        self.families = list(text_string_to_metric_families(text))
        assert len({family.name for family in self.families}) == len(self.families), "a family twice"
        self.samples = {}
        for family in self.families:
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                assert key not in self.samples, "a sample twice"
                self.samples[key] = sample.value

    def get(self, name, **labels):
        return self.samples.get((self._prefix + name, tuple(sorted(labels.items()))), 0)

    def names(self, label):
        """All values of a label."""
        return {value for _, labels in self.samples for key, value in labels if key == label}

    def series(self):
        """The names that a query may use."""
        return {name for name, _ in self.samples}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path, method="GET", target="/metrics"):
    """(status, headers, text) of a request over a unix socket."""
    connection = UnixConnection(path)
    connection.request(method, target)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, text


def service_numbers(suite, service):
    status, headers, text = ask(suite.socket(f"{service}.metrics"))
    assert status == 200 and headers["Content-Type"] == CONTENT_TYPE
    return Numbers(text)


def settled(suite, service, holds):
    """The numbers, once they are as expected: something is counted when it has ended."""

    def look():
        found = service_numbers(suite, service)
        return found if holds(found) else None

    return wait_until(look, f"{service} tells it in /metrics")
