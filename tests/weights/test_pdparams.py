"""Reading .pdparams: what paddle.save writes is read, everything else is refused, and nothing is ever run."""

from __future__ import annotations

import builtins
import collections
import contextlib
import copyreg
import itertools
import os
import pickle
import pickletools
import struct
import subprocess
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxzoo.errors import CheckpointError
from onnxzoo.weights.pdparams import read_pdparams

STATE = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.array([1.5, -2.5, 3.5], np.float32),
    "conv.weight": np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2),
    "half": np.array([1, 2], np.float16),
    "index": np.array([[1, -2]], np.int64),
    "scalar": np.array(7.0),
    "empty": np.zeros((0, 3), np.float32),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">f4"),
    "flags": np.array([True, False]),
}
TABLE = {"StructuredToParameterName@@": {"a.weight": "linear_0.w_0"}}


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "the-pickle-ran"


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.pdparams"
    path.write_bytes(data)
    return path


def refusal(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_pdparams(write(tmp_path, data))
    message = str(caught.value)
    assert "\n" not in message
    assert "model.pdparams" in message
    return message


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return list(left) == list(right) and all(
        left[k].shape == array.shape and left[k].dtype == array.dtype.newbyteorder("=") and (left[k] == array).all()
        for k, array in right.items()
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
class TestWhatIsRead:
    def test_arrays_keep_names_order_shapes_types_and_values(self, tmp_path: Path, protocol: int) -> None:
        arrays = read_pdparams(write(tmp_path, pickle.dumps({**STATE, **TABLE}, protocol)))
        assert same(arrays, STATE)
        assert all(array.flags.writeable and array.flags.aligned for array in arrays.values())

    def test_numpy_1_spells_its_modules_otherwise(self, tmp_path: Path, protocol: int) -> None:
        data = pickle.dumps(STATE, protocol)
        assert b"numpy._core" in data
        if protocol >= 4:  # there names have a length byte, and frames theirs, which the reader ignores
            data = data.replace(bytes([22]) + b"numpy._core.multiarray", bytes([21]) + b"numpy.core.multiarray")
            data = data.replace(bytes([19]) + b"numpy._core.numeric", bytes([18]) + b"numpy.core.numeric")
        data = data.replace(b"numpy._core", b"numpy.core")
        assert same(read_pdparams(write(tmp_path, data)), STATE)

    def test_ordered_dict(self, tmp_path: Path, protocol: int) -> None:
        data = pickle.dumps(OrderedDict(STATE), protocol)
        assert same(read_pdparams(write(tmp_path, data)), STATE)

    def test_one_wrapper_is_taken_off(self, tmp_path: Path, protocol: int) -> None:
        data = pickle.dumps({"epoch": 3, "best": 0.5, "state_dict": STATE}, protocol)
        assert same(read_pdparams(write(tmp_path, data)), STATE)

    def test_nested_dicts_hold_pairs_of_tensor_name_and_array(self, tmp_path: Path, protocol: int) -> None:
        data = pickle.dumps({"model": {k: ("linear_0.w_0", v) for k, v in STATE.items()}}, protocol)
        assert same(read_pdparams(write(tmp_path, data)), STATE)

    def test_slices_of_a_big_array_are_joined(self, tmp_path: Path, protocol: int) -> None:
        flat = np.arange(6, dtype=np.float32)
        info = {"w": {"OriginShape": (2, 3), "slices": ["w@@.0", "w@@.1"]}}
        state = {"b": flat, "w@@.0": flat[:4], "w@@.1": flat[4:], "UnpackBigParamInfor@@": info}
        arrays = read_pdparams(write(tmp_path, pickle.dumps(state, protocol)))
        assert same(arrays, {"b": flat, "w": flat.reshape(2, 3)})


def test_tied_arrays_are_one_array(tmp_path: Path) -> None:
    weight = np.ones(5, np.float32)
    arrays = read_pdparams(write(tmp_path, pickle.dumps({"a": weight, "b": weight})))
    assert arrays["a"] is arrays["b"]


def test_one_array_under_thousands_of_names_is_refused(tmp_path: Path) -> None:
    weight = np.ones(5, np.float32)
    with pytest.raises(CheckpointError, match="one array has more than 4 names, the last is"):
        read_pdparams(write(tmp_path, pickle.dumps({f"w{number}": weight for number in range(3000)})))


@pytest.mark.paddle
@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_paddle_saves(tmp_path: Path, protocol: int, wrapped: bool) -> None:
    paddle = pytest.importorskip("paddle")
    layer = paddle.nn.Sequential(paddle.nn.Linear(2, 3), paddle.nn.Conv2D(3, 4, 3), paddle.nn.LayerNorm(4))
    state = layer.state_dict()
    path = tmp_path / "model.pdparams"
    paddle.save({"state_dict": state} if wrapped else state, str(path), protocol=protocol)
    assert same(read_pdparams(path), {name: tensor.numpy() for name, tensor in state.items()})


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Evil:
    """Its state is set by BUILD, which calls `__setstate__`."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __setstate__(self, state: dict[str, Any]) -> None:
        state["sentinel"].touch()


class State:
    """Pickles as a call with a state, so that BUILD is run on what the call returns."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], state: Any) -> None:
        self.call = (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.call


def attacks(sentinel: Path) -> dict[str, tuple[bytes, str]]:
    shell = f"touch {sentinel}"
    code = f"open({str(sentinel)!r}, 'w')"
    s, c = shell.encode(), code.encode()

    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value.encode()

    def ran(module: str, name: str) -> bytes:
        return b"\x80\x04" + text(module) + text(name) + b"\x93" + b"X" + struct.pack("<I", len(s)) + s + b"\x85R."

    state = (1, (1,), np.dtype("f4"), False, b"\0\0\0\0")
    hostile_object = np.array([Call(os.system, shell)], dtype=object)
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n"
    dense = Call(builtins.eval, "data", {"data": 1})
    return {
        "reduce os.system": (pickle.dumps({"w": Call(os.system, shell)}), f"asks for {os.name}.system"),
        "reduce os.system, protocol 2": (pickle.dumps({"w": Call(os.system, shell)}, 2), f"asks for {os.name}.system"),
        "reduce eval": (pickle.dumps({"w": Call(builtins.eval, code)}), "asks for builtins.eval"),
        "reduce exec, protocol 2": (pickle.dumps({"w": Call(builtins.exec, code)}, 2), "asks for __builtin__.exec"),
        "reduce subprocess": (pickle.dumps({"w": Call(subprocess.call, ["touch", str(sentinel)])}), "subprocess.call"),
        "build with setstate": (
            pickle.dumps({"w": State(np.ndarray.__new__, (np.ndarray, (0,)), state)}),
            "asks for builtins.getattr",
        ),
        "a class's own setstate": (pickle.dumps({"w": Evil(sentinel)}), "test_pdparams.Evil"),
        "inst": (b"\x80\x02(X" + struct.pack("<I", len(s)) + s + b"ios\nsystem\n.", "asks for os.system"),
        "obj": (b"\x80\x02(cos\nsystem\nX" + struct.pack("<I", len(s)) + s + b"o.", "asks for os.system"),
        "obj of an admitted class": (b"\x80\x02(cnumpy\nndarray\nK\x01o.", "OBJ"),
        "newobj": (b"\x80\x02csubprocess\nPopen\n(X" + struct.pack("<I", len(s)) + s + b"t\x81.", "subprocess.Popen"),
        "newobj of an admitted class": (b"\x80\x02cnumpy\nndarray\nK\x01\x85\x81.", "NEWOBJ"),
        "newobj_ex": (b"\x80\x04cnumpy\nndarray\n)}\x92.", "NEWOBJ_EX"),
        "object array": (pickle.dumps({"w": hostile_object}), "element type 'O8'"),
        "object dtype": (pickle.dumps({"w": np.array([None], dtype=object)}), "element type 'O8'"),
        "structured dtype": (pickle.dumps({"w": np.zeros(1, "f4,f4")}), "element type 'V8'"),
        "string dtype": (pickle.dumps({"w": np.array(["x"])}), "element type 'U1'"),
        "dates": (pickle.dumps({"w": np.array(["2020"], "M8[Y]")}), "element type 'M8'"),
        "numpy scalar": (pickle.dumps({"w": np.float32(1)}), "its entry 'w' is of type float"),
        "masked array": (pickle.dumps({"w": np.ma.ones(2)}), "numpy.ma"),
        "numpy.load": (ran("numpy", "load"), "asks for numpy.load"),
        "reachable from an admitted module": (ran("numpy._core.multiarray", "os.system"), "multiarray.os.system"),
        "dotted name": (ran("numpy", "testing._private.utils.runstring"), "asks for numpy.testing"),
        "dotted name through an admitted one": (ran("numpy", "ndarray.__class__"), "numpy.ndarray.__class__"),
        "runstring": (ran("numpy.testing._private.utils", "runstring"), "runstring"),
        "codecs": (b"\x80\x02c_codecs\ndecode\nX" + struct.pack("<I", len(c)) + c + b"\x85R.", "_codecs.decode"),
        "other codec": (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00zlib\x86R.", "never do"),
        "other class": (
            b"\x80\x02" + reconstruct + b"c_codecs\nencode\nK\x00\x85U\x01b\x87R.",
            "never do",
        ),
        "call of a call's result": (b"\x80\x02cnumpy\ndtype\nU\x02f4\x85R)R.", "calls an element type"),
        "call of a text": (b"\x80\x02U\x09os.system)R.", "calls of type str"),
        "state of a function": (b"\x80\x02c_codecs\nencode\n}U\x08__code__K\x01sb.", "sets the state of"),
        "state of the array class": (b"\x80\x02cnumpy\nndarray\n}U\x01xK\x01sb.", "sets the state of"),
        "state of a dict": (b"\x80\x02}}U\x01xK\x01sb.", "sets the state of"),
        "extension 1": (b"\x80\x02\x82\xf0)R.", "EXT1"),
        "extension 2": (b"\x80\x02\x83\xf0\x00)R.", "EXT2"),
        "extension 4": (b"\x80\x02\x84\xf0\x00\x00\x00)R.", "EXT4"),
        "persistent id": (b"\x80\x02Pname\n.", "PERSID"),
        "binary persistent id": (b"\x80\x02K\x01Q.", "BINPERSID"),
        "out-of-band buffer": (b"\x80\x05\x97.", "NEXT_BUFFER"),
        "names that are no text": (b"\x80\x04K\x01K\x02\x93.", "not text"),
        "eval of a DenseTensor": (pickle.dumps({"w": dense}), "asks for builtins.eval"),
        "line breaks in a name": (ran("os\nfine", "system"), r"os\nfine.system"),
    }


@pytest.mark.parametrize("attack", attacks(Path("x")))
def test_an_attack_is_refused_and_runs_nothing(tmp_path: Path, sentinel: Path, attack: str) -> None:
    data, reason = attacks(sentinel)[attack]
    assert reason in refusal(tmp_path, data)
    assert not sentinel.exists()


def test_the_attacks_are_real(sentinel: Path) -> None:
    """The same bytes do run under `pickle`, so the test above proves something."""
    pickle.loads(attacks(sentinel)["reduce os.system"][0])
    assert sentinel.exists()


def test_a_cached_extension_is_not_used(tmp_path: Path, sentinel: Path) -> None:
    copyreg.add_extension("os", "system", 0xF0)
    try:
        data = pickle.dumps({"w": os.system}, 2).replace(f"c{os.name}\nsystem\n".encode(), b"\x82\xf0")
        assert "EXT1" in refusal(tmp_path, data)
    finally:
        copyreg.remove_extension("os", "system", 0xF0)


def array_pickle(shape: bytes, data: bytes, dtype: bytes = b"f4") -> bytes:
    """A hand-made protocol 3 dict of one array; `shape` is the pickle of its shape."""
    return (
        b"\x80\x03}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        b"(K\x01" + shape + b"cnumpy\ndtype\nU\x02" + dtype + b"\x89\x88\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + data + b"tbs."
    )


def test_a_hand_made_array(tmp_path: Path) -> None:
    data = array_pickle(b"K\x01\x85", b"C\x04" + struct.pack("<f", 2.5))
    assert read_pdparams(write(tmp_path, data))["w"].tolist() == [2.5]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (array_pickle(b"K\x02\x85", b"C\x04abcd"), "needs 8 bytes but has 4"),
        (array_pickle(b"\x8a\x08\0\0\0\0\0\0\0\x40\x85", b"C\x04abcd"), "cannot hold"),
        (array_pickle(b"J\xff\xff\xff\xff\x85", b"C\x04abcd"), "declares the shape"),
        (array_pickle(b"\x88\x85", b"C\x04abcd"), "declares the shape"),
        (array_pickle(b"(" + b"K\x01" * 9 + b"t", b"C\x04abcd"), "declares the shape"),
        (array_pickle(b")" + b"\x85" * 100_000, b"C\x04abcd"), "(of type tuple)"),
        (array_pickle(b"N", b"C\x04abcd"), "sets the state"),
        (array_pickle(b"K\x01\x85", b"]"), "data of an array is of type list"),
        (array_pickle(b"K\x01\x85", b"\x8e" + struct.pack("<Q", 2**62)), "truncated"),
        (array_pickle(b"K\x01\x85", b"C\x04abcd")[:-2] + b"0s.", "damaged"),
        (b"\x80\x02" + b"]" * 1_000_001 + b".", "instructions"),
        (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "of type list instead of a dict"),
        (b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"K\x01s.", "names of arrays must be strings"),
        (b"\x80\x02" + b"(" * 100_000 + b".", "does not end in one object"),
        (b"\x80\x02N\x8b" + struct.pack("<i", 2**30) + b".", "0x8b"),
        (b"\x80\x02j\xff\xff\xff\xff.", "never stored"),
        (b"\x80\x04\x95" + b"\xff" * 8 + b"N.", "None instead of a dict"),
        (b"\x80\x00}.", "protocol 0"),
        (b"\x80\x02}q\x00U\x01ah\x00s.", "of type dict and should be an array"),
    ],
)
def test_a_damaged_or_hostile_structure_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    assert reason in refusal(tmp_path, data)


def test_arrays_that_share_bytes_cannot_fill_the_memory(tmp_path: Path) -> None:
    """One megabyte of data, named by a thousand arrays, would be a gigabyte."""
    shape = b"J" + struct.pack("<i", 250_000) + b"\x85"
    array = array_pickle(shape, b"B" + struct.pack("<I", 1_000_000) + bytes(1_000_000) + b"q\x01")
    more = array_pickle(shape, b"h\x01")[3:-1]
    assert "more data than the file has" in refusal(tmp_path, array[:-1] + more * 1000 + b".")


def test_encoded_text_that_is_reused_cannot_fill_the_memory(tmp_path: Path) -> None:
    text = b"X" + struct.pack("<I", 1_000_000) + b"a" * 1_000_000 + b"q\x010"
    call = b"c_codecs\nencode\nh\x01U\x06latin1\x86R"
    tracemalloc.start()
    try:
        assert "does not end in one object" in refusal(tmp_path, b"\x80\x02" + text + call * 1000 + b".")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    array = array_pickle(b"J" + struct.pack("<i", 250_000) + b"\x85", call)[3:-1]
    assert "more data than the file has" in refusal(tmp_path, b"\x80\x02" + text + b"}" + array * 1000 + b".")


SHIPPED_WEIGHTS = sorted((Path(__file__).parents[2] / "training" / "checkpoints").glob("*.pdparams"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("path", SHIPPED_WEIGHTS, ids=lambda path: path.stem)
def test_checkpoints_of_real_size_are_read_in_every_protocol(tmp_path: Path, path: Path, protocol: int) -> None:
    weights = read_pdparams(path)
    assert sum(array.nbytes for array in weights.values()) > 1_800_000
    for beside in ({}, TABLE):
        again = read_pdparams(write(tmp_path, pickle.dumps({**weights, **beside}, protocol)))
        assert same(again, weights)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "number",
    [np.float64(0.5), np.float32(0.5), np.float16(0.5), np.int64(7), np.uint8(7), np.bool_(True), np.array(0.5)],
    ids=lambda number: f"{type(number).__name__}-{number.dtype}",
)
def test_numbers_of_numpy_beside_the_weights(tmp_path: Path, number: Any, protocol: int) -> None:
    content = {"best_acc": number, "model": STATE, "history": [number, {"top1": number}], "epoch": 3}
    assert same(read_pdparams(write(tmp_path, pickle.dumps(content, protocol))), STATE)


def test_a_numpy_scalar_among_the_weights_is_not_an_array(tmp_path: Path) -> None:
    said = refusal(tmp_path, pickle.dumps({**STATE, "best_acc": np.float64(0.5)}))
    assert "its entry 'best_acc' is of type float and should be an array" in said


@pytest.mark.parametrize("data", [b"C\x07" + bytes(7), b"C\x09" + bytes(9), b"N", b"K\x01"])
def test_a_number_of_another_length_is_refused(tmp_path: Path, data: bytes) -> None:
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R"
    said = refusal(tmp_path, b"\x80\x03cnumpy.core.multiarray\nscalar\n" + dtype + data + b"\x86R.")
    assert "is refused" in said


def sliced(shape: Any, slices: Any) -> bytes:
    """A dict of one array `w` of two numbers and a table that makes it a slice of `v`."""
    return pickle.dumps({"w": STATE["half"], "UnpackBigParamInfor@@": {"v": {"OriginShape": shape, "slices": slices}}})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04rest", "PyTorch file"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"more", "PyTorch file"),
        (b"\x89PNG\r\n\x1a\n", "PNG image"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"hello world", "is not a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (pickle.dumps({"a": 1}, 0), "a pickle of protocol 0 or 1, expected 2 to 5; save it again: paddle.save("),
        (pickle.dumps({"a": 1, "b": 2}, 1), "a pickle of protocol 0 or 1"),
        (pickle.dumps(collections.OrderedDict(a=1), 0), "a pickle of protocol 0 or 1"),
        (pickle.dumps([1, 2]), "of type list instead of a dict"),
        (pickle.dumps("text"), "of type str instead of a dict"),
        (pickle.dumps({}), "holds no arrays"),
        (pickle.dumps(TABLE), "holds no arrays"),
        (pickle.dumps({"a": STATE["half"], "b": 3}), "'b' is of type int and should be an array"),
        (pickle.dumps({"a": STATE["half"], "b": [STATE["half"]]}), "'b' is of type list"),
        (pickle.dumps({1: STATE["half"]}), "names of arrays must be strings"),
        (pickle.dumps({"model": STATE, "ema": STATE}), "several dicts of arrays ('model', 'ema')"),
        (pickle.dumps({"x_moment1_0": STATE["half"], "LR_Scheduler": {}}), "optimizer's state ('LR_Scheduler')"),
        (pickle.dumps({"master_weights": {"a": STATE["half"]}, "a_moment1_0": STATE["half"]}), "optimizer's state"),
        (pickle.dumps(STATE) + b"x", "1 bytes follow the end"),
        (sliced((3,), ["w"]), "save it again"),
        (sliced((4,), ["w", "w"]), "save it again"),
        (sliced("2", ["w"]), "save it again"),
        (pickle.dumps({"w": STATE["half"], "UnpackBigParamInfor@@": 3}), "save it again"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, data: bytes, reason: str) -> None:
    assert reason in refusal(tmp_path, data)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_pdparams(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_pdparams(tmp_path / "absent.pdparams")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_truncated_files_are_refused(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps({**STATE, **TABLE}, protocol)
    for part in range(20):
        refusal(tmp_path, data[: len(data) * part // 20])


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_flipped_bytes_give_arrays_or_a_checkpoint_error(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(protocol)
    data = pickle.dumps({**STATE, **TABLE}, protocol)
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            changed[rng.integers(len(data))] = rng.integers(256)
        try:
            arrays = read_pdparams(write(tmp_path, bytes(changed)))
        except CheckpointError:
            continue
        assert all(type(k) is str and type(v) is np.ndarray and v.dtype.kind in "biuf" for k, v in arrays.items())


@pytest.mark.slow
def test_shuffled_instructions_give_arrays_or_a_checkpoint_error(tmp_path: Path) -> None:
    """Whole instructions in another order go deeper into the machine than flipped bytes do."""
    rng = np.random.default_rng(0)
    data = pickle.dumps({"a": STATE["a.weight"], "b": STATE["fortran"]}, 4)
    starts = [at for _, _, at in pickletools.genops(data)] + [len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(starts)]
    for _ in range(300):
        order = list(range(len(pieces)))
        for _ in range(rng.integers(1, 5)):
            i, j = rng.integers(1, len(order), 2)
            order[i], order[j] = order[j], order[i]
        with contextlib.suppress(CheckpointError):
            read_pdparams(write(tmp_path, b"".join(pieces[i] for i in order)))
