"""The schema that editors use takes good configuration files, and no others.

That it names every key, with the right type and default, is tested in
`tests/documentation/schema.rs`.
"""

import json
import re
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config.example.toml").read_text()
# Keys without a default are comments there, and so is the route.
WHOLE = re.sub(r"^# (?=\[|[a-z_.]+ = )", "", EXAMPLE, flags=re.MULTILINE)
TABLES = [
    "",
    "[[listener]]",
    "[[listener]]\n[listener.tls]",
    "[server]",
    "[admin]",
    "[upstream]",
    "[upstream.tls]",
    "[timeouts]",
    "[heartbeat]",
    "[events]",
    "[request_headers]",
    "[response_headers]",
    "[access]",
    "[limits]",
    "[probe]",
    "[drain]",
    "[log]",
    "[[route]]",
    "[[route]]\n[route.upstream]",
    "[[route]]\n[route.timeouts]",
    "[[route]]\n[route.heartbeat]",
    "[[route]]\n[route.events]",
    "[[route]]\n[route.drain]",
]


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    schema = json.loads((ROOT / "docs/config.schema.json").read_text())
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def test_it_takes_the_example(schema):
    schema.validate(tomllib.loads(EXAMPLE))
    schema.validate(tomllib.loads(WHOLE))


@pytest.mark.parametrize(
    "file", ["docker/config.toml", "deploy/kubernetes/*/config.toml"]
)
def test_it_takes_the_files_that_are_deployed(schema, file):
    paths = list(ROOT.glob(file))
    assert paths
    for path in paths:
        schema.validate(tomllib.loads(path.read_text()))


@pytest.mark.parametrize("table", TABLES)
def test_it_refuses_an_unknown_key(schema, table):
    assert schema.is_valid(tomllib.loads(table))
    assert not schema.is_valid(tomllib.loads(f"{table}\nunknown = 1"))


@pytest.mark.parametrize(
    "text",
    [
        "timeouts.read = 15",
        "timeouts.read = '15 seconds'",
        "timeouts.read = '0s'",
        "timeouts.read = ''",
        "timeouts.read = '1m1h'",
        "drain.timeout = 'off'",
        "events.detect = 'sometimes'",
        "server.max_connections = 0",
        "server.workers = 'all'",
        "server.trusted_proxies = '10.0.0.0/8'",
        "upstream = 'http://127.0.0.1:3000'",
        "route = [{ timeouts.keep_alive = '1s' }]",
        "route = [{ drain.timeout = '1s' }]",
    ],
)
def test_it_refuses_a_wrong_value(schema, text):
    assert not schema.is_valid(tomllib.loads(text))


@pytest.mark.parametrize("value", ["off", "250ms", "15s", "1h", "1m30s", "1h2m3s4ms"])
def test_it_takes_durations(schema, value):
    schema.validate({"timeouts": {"read": value}})
