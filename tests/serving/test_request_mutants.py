"""Mutants of requests: none is answered by an error of the server, and the server goes on."""

from __future__ import annotations

import fuzz_requests
import pytest

from onnxzoo.serving.limits import Limits

COUNT = 300


@pytest.mark.slow
def test_no_mutant_gets_an_error_of_the_server(start, served_folders):
    with start(served_folders[0], limits=Limits(receive_s=0.2, header_s=0.2)) as server:
        outcome = fuzz_requests.try_mutants(server.http, server.grpc, COUNT, seed=1)
    assert outcome.faults == []
    assert sum(outcome.statuses.values()) == COUNT
    # The mutants are neither all too broken nor all right.
    for status in (("http", "200"), ("http", "400"), ("grpc", "OK"), ("grpc", "INVALID_ARGUMENT")):
        assert outcome.statuses[status] > COUNT / 50


@pytest.mark.parametrize(("status", "error"), [("500", ""), ("INTERNAL", ""), ("no answer", ""), ("400", "a\nb")])
def test_what_is_a_fault_is_found(status, error):
    outcome = fuzz_requests.Outcome()
    outcome.add("http:0:0", status, error)
    outcome.add("http:0:1", "400", "one sentence")
    assert [token for token, _ in outcome.faults] == ["http:0:0"]
