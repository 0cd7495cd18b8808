"""Protobuf text: what is written is what Protocol Buffers' own parser reads."""

from __future__ import annotations

import pytest

from onnxzoo.deploy.pbtxt import Word, entries, text_format

parser = pytest.importorskip("google.protobuf.text_format")
model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2")


@pytest.mark.parametrize(
    "text", ["plain", 'a "quote"', "back\\slash", "two\nlines\tand\ra tab", "é 围巾 😀", "\x01\x7f", "\\303", "{}#"]
)
def test_any_text_comes_back(text):
    written = text_format({"name": text, "parameters": entries({text: {"string_value": text}})})
    config = parser.Parse(written, model_config_pb2.ModelConfig())
    assert config.name == text
    assert config.parameters[text].string_value == text
    assert written.isascii()


def test_every_kind_of_value():
    message = {
        "max_batch_size": 8,
        "input": [{"name": "a", "data_type": Word("TYPE_FP32"), "dims": [3, -1], "optional": True}, {"name": "b"}],
        "dynamic_batching": {},
        "output": [],
    }
    config = parser.Parse(text_format(message), model_config_pb2.ModelConfig())
    assert config.max_batch_size == 8
    assert [one.name for one in config.input] == ["a", "b"]
    assert (config.input[0].data_type, [*config.input[0].dims]) == (model_config_pb2.TYPE_FP32, [3, -1])
    assert (config.input[0].optional, config.input[1].optional) == (True, False)
    assert config.HasField("dynamic_batching")
    assert not config.output
