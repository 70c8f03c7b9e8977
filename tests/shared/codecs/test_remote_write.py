"""remote_write 1.0 and 2.0: valid messages or Refused."""

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.codecs import remote_write
from shared.codecs.prompb import remote1_pb2, remote2_pb2
from shared.errors import Refused

STALE = struct.unpack("<d", (0x7FF0000000000002).to_bytes(8, "little"))[0]


def request1() -> Any:
    request = remote1_pb2.WriteRequest()
    series = request.timeseries.add()
    series.labels.add(name="__name__", value="up")
    series.samples.add(value=STALE, timestamp=1)
    series.exemplars.add(value=1)
    return request


def request2() -> Any:
    request = remote2_pb2.Request(symbols=["", "__name__", "up"])
    series = request.timeseries.add(labels_refs=[1, 2])
    series.samples.add(value=1, timestamp=1)
    series.samples.add(value=2, timestamp=2)
    series.histograms.add(count_int=1)
    return request


def test_counts_both_versions() -> None:
    assert remote_write.count(remote_write.parse(remote_write.V1, request1().SerializeToString())) == remote_write.Counts(1, 0, 1)
    assert remote_write.count(remote_write.parse(remote_write.V2, request2().SerializeToString())) == remote_write.Counts(2, 1, 0)


def test_stale_marker_keeps_its_bits() -> None:
    value = request1().SerializeToString()
    assert remote_write.parse(remote_write.V1, value).SerializeToString() == value
    assert (0x7FF0000000000002).to_bytes(8, "little") in value


def test_series_without_labels_is_refused() -> None:
    request = remote1_pb2.WriteRequest()
    request.timeseries.add().samples.add(value=1)
    with pytest.raises(Refused, match="no labels"):
        remote_write.parse(remote_write.V1, request.SerializeToString())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.symbols.insert(0, "x"), "first symbol"),
        (lambda r: r.timeseries[0].labels_refs.append(1), "pairs"),
        (lambda r: r.timeseries[0].labels_refs.extend([1, 3]), "below"),
        (lambda r: r.timeseries[0].ClearField("labels_refs"), "at least one"),
        (lambda r: setattr(r.timeseries[0].metadata, "help_ref", 9), "metadata"),
        (lambda r: r.timeseries[0].exemplars.add(labels_refs=[1]), "exemplar"),
    ],
    ids=["first symbol", "odd", "out of range", "none", "metadata", "exemplar"],
)
def test_broken_references_are_refused(change: Any, says: str) -> None:
    request = request2()
    change(request)
    with pytest.raises(Refused, match=says):
        remote_write.parse(remote_write.V2, request.SerializeToString())


@pytest.mark.parametrize("version", [remote_write.V1, remote_write.V2])
def test_garbage_is_refused(version: remote_write.Version) -> None:
    with pytest.raises(Refused) as refused:
        remote_write.parse(version, b"\xff\xff\xff")
    assert refused.value.status == 400


def test_generated_code_is_that_of_the_proto_files(tmp_path: Path) -> None:
    root = Path(remote1_pb2.__file__).parents[3]
    protos = sorted(path.relative_to(root).as_posix() for path in Path(remote1_pb2.__file__).parent.glob("*.proto"))
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *protos], cwd=root, check=True)
    made = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(made) == 4
    for path in made:
        assert path.read_text() == (root / path.relative_to(tmp_path)).read_text(), f"{path.name}: run ./task generate"
