"""A node to ask: at $NODE, with the token $TOKEN."""

import json
import os
import urllib.request


def ask(path, order=None):
    """What the node answers; `order` is sent with the token."""
    body = None if order is None else json.dumps(order).encode()
    request = urllib.request.Request(os.environ["NODE"] + path, data=body)
    if order is not None:
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", "Bearer " + os.environ["TOKEN"])
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
