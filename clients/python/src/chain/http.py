"""Requests to the REST API of a node."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

#: Seconds without a byte from the node after which a request fails. Long polls wait for 120 at most.
TIMEOUT = 150.0


class ApiError(Exception):
    """An error response: `code` is the stable name of the problem, such as `nonce-used`."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({code})" if code else f"status {status}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail


class Transport:
    """Sends requests to a node, each over a connection of its own, so that threads can share it. Uses no proxy."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """`token` is the API token of the node, without which requests that change it are rejected."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url!r} is not the URL of a node, such as http://127.0.0.1:28400")
        self.url = url.rstrip("/")
        self._host, self._port = parts.hostname, parts.port or 80
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        connection.request(method, path, body=body, headers={**self._headers, **headers})
        return connection

    def request(
        self,
        method: str,
        path: Sequence[str],
        query: Mapping[str, Any],
        body: Any,
        media_type: str = "application/json",
    ) -> Any:
        """Sends a request and returns the body of the response: what JSON contains, or text."""
        encoded = None
        if body is not None:
            encoded = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        connection = self._send(method, _path(path, query), encoded, {"Content-Type": media_type} if encoded else {})
        try:
            response = connection.getresponse()
            text = response.read().decode()
            is_json = "json" in (response.getheader("Content-Type") or "")
        finally:
            connection.close()
        content = json.loads(text) if is_json and text else text
        if response.status >= 400:
            raise _error(response.status, content)
        return content

    def events(self, query: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The topics and data of the node's events, without end."""
        connection = self._send("GET", _path(("v1", "events"), query), None, {})
        try:
            response = connection.getresponse()
            if response.status != 200:
                raise _error(response.status, json.loads(response.read()))
            topic = ""
            for line in response:
                name, _, value = line.decode().rstrip("\r\n").partition(": ")
                if name == "event":
                    topic = value
                elif name == "data":
                    yield topic, json.loads(value)
        finally:
            connection.close()


def _path(path: Sequence[str], query: Mapping[str, Any]) -> str:
    shown = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items() if value is not None}
    joined = "/" + "/".join(quote(str(part), safe="") for part in path)
    return f"{joined}?{urlencode(shown)}" if shown else joined


def _error(status: int, content: Any) -> ApiError:
    if not isinstance(content, dict):
        return ApiError(status, "", str(content))
    return ApiError(status, str(content.get("code", "")), str(content.get("detail", content.get("title", ""))))
