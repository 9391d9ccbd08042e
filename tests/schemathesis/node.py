"""A client of the node at $NODE, with the API token $TOKEN."""

import json
import os
import urllib.request


def request(path, body=None):
    """Returns the JSON response of a GET request or, with a body, of an authorized POST request."""
    data = None if body is None else json.dumps(body).encode()
    prepared = urllib.request.Request(os.environ["NODE"] + path, data=data)
    if data is not None:
        prepared.add_header("Content-Type", "application/json")
        prepared.add_header("Authorization", "Bearer " + os.environ["TOKEN"])
    with urllib.request.urlopen(prepared, timeout=60) as response:
        return json.load(response)
