"""Grid files: byte by byte as other programs write them, and refused where they lie."""

from __future__ import annotations

import gzip
import json
import sqlite3
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lamina import DiffusionConfig, ToroidalGrid
from lamina.errors import CorruptionError, FormatError, InvalidInputError
from lamina.formats import detect_state, read_state, write_state
from lamina.formats.toroidal import suggest_format
from lamina.formats.toroidal_json import rust_number

GRIDS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(allow_nan=False, allow_infinity=False),
)
CELLS = np.array([[0.0, 0.25, 1.0], [1e-5, -0.5, 1e-7]])
BINARY = struct.pack("<II6d", 3, 2, *CELLS.reshape(-1))
PLAIN = """{
  "width": 3,
  "height": 2,
  "data": [
    0.0,
    0.25,
    1.0,
    0.00001,
    -0.5,
    1e-7
  ]
}"""
SERVER = """{
  "width": 3,
  "height": 2,
  "cells": [
    [
      0.0,
      0.25,
      1.0
    ],
    [
      0.00001,
      -0.5,
      1e-7
    ]
  ],
  "diffusion_config": {
    "diffusion_rate": 0.25,
    "decay_rate": 0.1,
    "threshold": 0.01
  },
  "metadata": {
    "user": "Zoë \\"z\\""
  }
}"""
GRID_FORMATS = ["toroidal-bin", "toroidal-gzip", "toroidal-json", "toroidal-snapshot", "toroidal-server"]
RATES = {"diffusion_rate": 0.25, "decay_rate": 0.1, "threshold": 0.01}


def written(path: Path, format: str, arrays: Any, metadata: Any = None) -> bytes:
    """The bytes that a format is written as."""
    write_state(path, format, arrays, metadata, overwrite=True)
    return path.read_bytes()


def test_binary_is_exact(tmp_path: Path) -> None:
    """Two 32-bit sides and the cells, little-endian: to the byte, both ways."""
    assert BINARY == written(tmp_path / "a", "toroidal-bin", {"cells": CELLS})
    assert "toroidal-bin" == detect_state(BINARY)
    assert np.array_equal(CELLS, read_state(BINARY).arrays["cells"])
    assert 20_008 == len(written(tmp_path / "a", "toroidal-bin", {"cells": np.zeros((50, 50))}))


def test_json_is_exact(tmp_path: Path) -> None:
    """Plain and server JSON are those of serde_json's pretty printer, to the byte, both ways."""
    metadata = {"diffusion_config": RATES, "metadata": {"user": 'Zoë "z"'}}

    assert PLAIN == written(tmp_path / "a", "toroidal-json", {"cells": CELLS}).decode()
    assert SERVER == written(tmp_path / "a", "toroidal-server", {"cells": CELLS}, metadata).decode()
    for text, format in ((PLAIN, "toroidal-json"), (SERVER, "toroidal-server")):
        state = read_state(text.encode())
        assert format == detect_state(text.encode()) == state.format
        assert np.array_equal(CELLS, state.arrays["cells"])
        assert text == written(tmp_path / "a", format, state.arrays, state.metadata).decode()


def test_an_empty_metadata_is_two_braces(tmp_path: Path) -> None:
    """As serde_json writes an empty map."""
    data = written(tmp_path / "a", "toroidal-server", {"cells": CELLS}, {"diffusion_config": RATES})

    assert data.endswith(b'  },\n  "metadata": {}\n}')


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_of_rust_are_the_same_numbers(value: float) -> None:
    """However it is written, the text gives the number back bit for bit."""
    assert struct.pack("d", value) == struct.pack("d", float(rust_number(value)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0.0"), (-0.0, "-0.0"), (1e15, "1000000000000000.0"), (1e16, "1e16"), (1.5e300, "1.5e300"),
     (0.0001, "0.0001"), (1.5e-5, "0.000015"), (-1e-5, "-0.00001"), (1e-6, "1e-6"), (1.25e-10, "1.25e-10"),
     (5e-324, "5e-324"), (123456.789, "123456.789")],
)  # fmt: skip
def test_numbers_as_rust_writes_them(value: float, expected: str) -> None:
    """Where Rust and Python differ, Rust's form is written."""
    assert expected == rust_number(value)


def test_gzip_is_the_binary_under_gzip(tmp_path: Path) -> None:
    """Any gzip reads ours, ours reads any gzip's, and equal grids give equal bytes."""
    ours = written(tmp_path / "a.session", "toroidal-gzip", {"cells": CELLS})

    assert BINARY == gzip.decompress(ours)
    assert ours == written(tmp_path / "b", "toroidal-gzip", {"cells": CELLS})
    for level in (1, 6, 9):
        theirs = gzip.compress(BINARY, level)
        assert "toroidal-gzip" == detect_state(theirs)
        assert np.array_equal(CELLS, read_state(theirs).arrays["cells"])


@given(GRIDS, st.sampled_from(GRID_FORMATS))
def test_any_grid_survives_any_format(cells: Any, format: str) -> None:
    """Every finite cell comes back bit for bit, and the content tells the format."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        data = written(Path(folder) / "x", format, {"cells": cells}, {"diffusion_config": RATES})

    assert format == detect_state(data)
    state = read_state(data)
    assert cells.tobytes() == state.arrays["cells"].tobytes()
    assert (cells.shape[1], cells.shape[0]) == (state.metadata["width"], state.metadata["height"])


def test_a_grid_goes_through_a_file_whole(tmp_path: Path) -> None:
    """What a grid keeps beside its cells is in a snapshot; the binary form says what it left out."""
    grid = ToroidalGrid.from_cells(CELLS, diffusion=DiffusionConfig(decay_rate=0.5))
    grid.metadata = {"user_id": "ada", "created_at": "2026-03-01T09:30:00Z", "metadata": {"n": [1, {}, None, 0.00001]}}
    state = read_state(written(tmp_path / "a", "toroidal-snapshot", *grid.to_state()))
    report = write_state(tmp_path / "b", "toroidal-bin", *grid.to_state())

    assert grid == ToroidalGrid.from_state(state.arrays, state.metadata)
    assert "user_id, created_at, metadata, diffusion_config" in report.notes[0]
    grid.place(0, 0, "x", activation=0.0)
    with pytest.raises(InvalidInputError, match="no place for the array 'emotion'"):
        write_state(tmp_path / "c", "toroidal-snapshot", *grid.to_state())


def test_versions_of_a_snapshot() -> None:
    """Version 1 has no metadata, 2 may have; any other is refused."""
    one = b'{"version": 1, "width": 1, "height": 1, "data": [0.5]}'

    assert 0.5 == read_state(one).arrays["cells"][0, 0]
    assert "toroidal-snapshot" == detect_state(one)
    with pytest.raises(FormatError, match="version 3"):
        read_state(one.replace(b"1", b"3", 1))


@pytest.mark.parametrize(
    ("data", "format", "expected"),
    [
        (BINARY[:-1], "toroidal-bin", "has 56 bytes, but there are 55"),
        (BINARY + b"\0", "toroidal-bin", "has 56 bytes, but there are 57"),
        (b"\0" * 7, "toroidal-bin", "the header"),
        (struct.pack("<II", 0, 5), "toroidal-bin", "dimensions 0 by 5"),
        (struct.pack("<II", 2**32 - 1, 2**32 - 1), "toroidal-bin", "but there are 8"),
        (struct.pack("<II3d", 3, 1, 0, float("nan"), 0), "toroidal-bin", r"cell \(1, 0\), number 1 .*nan"),
        (struct.pack("<II4d", 2, 2, 0, 0, 0, float("-inf")), "toroidal-bin", r"cell \(1, 1\).*is -inf"),
        (gzip.compress(BINARY)[:-9], "toroidal-gzip", "but there are"),
        (gzip.compress(BINARY + b"\0"), "toroidal-gzip", "more than the 48 bytes"),
        (gzip.compress(BINARY[:-8]), "toroidal-gzip", "but there are 40"),
        (gzip.compress(BINARY) + b"more", "toroidal-gzip", "something follows"),
        (gzip.compress(struct.pack("<II", 2**31, 2**31)), "toroidal-gzip", "cannot come out of"),
        (gzip.compress(b"abc"), "toroidal-gzip", "cut short"),
        (BINARY, "toroidal-gzip", "no gzip"),
        (PLAIN.replace("0.25,", "").encode(), "toroidal-json", "has 6 cells, not 5"),
        (PLAIN.replace("0.25", "null").encode(), "toroidal-json", "number 1 of the grid is null"),
        (PLAIN.replace("0.25", "NaN").encode(), "toroidal-json", "item 1 of a list of numbers is NaN"),
        (PLAIN.replace("0.25", "1e400").encode(), "toroidal-json", "item 1 .* not finite"),
        (PLAIN.replace("3,", "-3,").encode(), "toroidal-json", "width is -3"),
        (PLAIN.replace("3,", "1.5,").encode(), "toroidal-json", "width is 1.5"),
        (SERVER.replace("0.25,", "", 1).encode(), "toroidal-server", "row 0 has 2 cells, not 3"),
        (SERVER.replace("-0.5", "true").encode(), "toroidal-server", r"cell \(1, 1\) is true"),
        (SERVER.replace('"height": 2', '"height": 1').encode(), "toroidal-server", "there are 2 rows, not 1"),
        (SERVER.replace("0.01", '"x"').encode(), "toroidal-server", "no object of numbers"),
        (struct.pack("<I", 5), "toroidal-delta", "5 changes take 84 bytes, but there are 4"),
        (struct.pack("<Iiid", 1, 0, 0, float("inf")), "toroidal-delta", "change 0 sets inf"),
    ],
)  # fmt: skip
def test_what_lies_is_refused(data: bytes, format: str, expected: str) -> None:
    """Sizes that are not there, values that are none: refused before anything is allocated, the first one named."""
    with pytest.raises(InvalidInputError, match=expected):
        read_state(data, format)


def test_damage_under_gzip_is_damage() -> None:
    """A wrong checksum is no wrong format."""
    data = bytearray(gzip.compress(BINARY))
    data[-8] ^= 1
    with pytest.raises(CorruptionError, match="damaged"):
        read_state(bytes(data))


def test_a_delta_is_exact_and_gives_the_new_grid(tmp_path: Path) -> None:
    """A count and 16 bytes a change; laid over its base it is the new grid, bit for bit."""
    base = ToroidalGrid.from_cells(np.zeros((50, 50)))
    new = base.clone()
    for place in range(5):
        new.set(place, -place, 0.1 * (place + 1))
    x, y, value = new.delta_since(base)
    data = written(tmp_path / "d", "toroidal-delta", {"x": x, "y": y, "value": value})
    state = read_state(data)

    expected = struct.pack("<I", 5) + b"".join(struct.pack("<iid", *one) for one in zip(x, y, value, strict=True))
    assert expected == data
    assert 84 == len(data)
    assert "toroidal-delta" == detect_state(data)
    base.apply_delta(*(state.arrays[name] for name in ("x", "y", "value")))
    assert new == base


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x": [1], "y": [1]}, "no array 'value'"),
        ({"x": [1], "y": [1, 2], "value": [0.5]}, "differ in length"),
        ({"x": [2**31], "y": [1], "value": [0.5]}, "no 32-bit"),
        ({"x": [0.5], "y": [1], "value": [0.5]}, "no 32-bit"),
        ({"x": [1], "y": [1], "value": [np.inf]}, "change 0 sets inf"),
    ],
)
def test_a_wrong_delta_is_not_written(tmp_path: Path, arrays: Any, expected: str) -> None:
    """Columns that do not fit together are refused, and no file appears."""
    with pytest.raises(InvalidInputError, match=expected):
        write_state(tmp_path / "d", "toroidal-delta", arrays)
    assert [] == list(tmp_path.iterdir())


def table(path: Path, *rows: tuple[Any, ...]) -> Path:
    """A table of sessions, made by the standard library's SQLite."""
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE memory_states "
            "(session_id TEXT PRIMARY KEY, timestamp INTEGER, memory_data BLOB, metadata TEXT)"
        )
        connection.executemany("INSERT INTO memory_states VALUES (?, ?, ?, ?)", rows)
    connection.close()
    return path


def test_the_table_of_sessions_is_read(tmp_path: Path) -> None:
    """Each session is an array, its time and metadata beside it."""
    path = table(
        tmp_path / "s.db",
        ("user_123", 1729612800, BINARY, '{"width": 3, "height": 2}'),
        ("other", None, struct.pack("<IId", 1, 1, 0.5), None),
    )
    state = read_state(path)

    assert "toroidal-sqlite" == detect_state(path) == state.format
    assert ["other", "user_123"] == list(state.arrays)
    assert np.array_equal(CELLS, state.arrays["user_123"])
    assert {"timestamp": 1729612800, "metadata": {"width": 3, "height": 2}} == state.metadata["sessions"]["user_123"]


def test_the_table_of_sessions_is_written(tmp_path: Path) -> None:
    """Another SQLite reads the table, and what was read is written back."""
    path = table(tmp_path / "s.db", ("ada", 5, BINARY, '{"width": 3, "height": 2, "x": 1}'))
    state = read_state(path)
    write_state(tmp_path / "t.db", "toroidal-sqlite", state.arrays, state.metadata)
    write_state(tmp_path / "u.db", "toroidal-sqlite", {"cells": CELLS}, {"user_id": "bob"})

    with sqlite3.connect(tmp_path / "t.db") as connection:
        rows = connection.execute("SELECT session_id, timestamp, memory_data, metadata FROM memory_states").fetchall()
    connection.close()
    assert [("ada", 5, BINARY, {"width": 3, "height": 2, "x": 1})] == [(*row[:3], json.loads(row[3])) for row in rows]
    assert "bob" == read_state(tmp_path / "u.db").metadata["session_id"]


def test_one_session_of_a_table_is_a_grid(tmp_path: Path) -> None:
    """A grid that went through the table is a grid again, and its session keeps its name, time and metadata."""
    grid = ToroidalGrid.from_cells(CELLS)
    grid.metadata = {"user_id": "ada", "sessions": {"ada": {"timestamp": 5, "metadata": {"x": 1}}}}
    write_state(tmp_path / "a.db", "toroidal-sqlite", *grid.to_state())
    state = read_state(tmp_path / "a.db")
    again = ToroidalGrid.from_state(state.arrays, state.metadata)
    assert np.array_equal(CELLS, again.cells)
    write_state(tmp_path / "b.db", "toroidal-sqlite", *again.to_state())
    last = read_state(tmp_path / "b.db").metadata
    assert {"ada": {"timestamp": 5, "metadata": {"width": 3, "height": 2, "x": 1}}} == last["sessions"]
    grid.place(0, 0, emotion=0.5)
    with pytest.raises(InvalidInputError, match="no place for the array"):
        write_state(tmp_path / "c.db", "toroidal-sqlite", *grid.to_state())


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("g.bin", BINARY[:-3], "looks like toroidal-bin, but a grid of 3 by 2 has 56 bytes, but there are 53"),
        ("g", BINARY[:-3], "looks like toroidal-bin, but a grid of 3 by 2 has 56 bytes"),
        ("g.session", gzip.compress(BINARY)[:-5], "looks like toroidal-gzip, but the gzip is cut short"),
        ("g.session", gzip.compress(BINARY)[:-15], "looks like toroidal-gzip, but a grid of 3 by 2 has 48 bytes"),
        ("g.gz", gzip.compress(BINARY)[:-1] + b"\x07", "looks like toroidal-gzip, but is damaged"),
        ("g.json", b'{"colour": 1}', r"looks like JSON, but its keys \(colour\)"),
        ("g.json", b'{"colour": ', "looks like JSON, but"),
        ("g.db", b"SQLite format 3\0" + bytes(600), "looks like toroidal-sqlite, but"),
        ("g.bin", b"", "is empty"),
        ("g.txt", b"hello", "in no format of states"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    """A file that is cut short or damaged is not told apart from a grid by nothing but "in no format that is known"."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises((InvalidInputError, CorruptionError), match=expected):
        read_state(tmp_path / name)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("a", 1, BINARY[:-1], None), "memory_data of the session 'a' is no grid"),
        (("a", 1, "text", None), "is no grid"),
        (("a", 1, BINARY, "[]"), "no JSON object"),
        (("a", 1, struct.pack("<IId", 1, 1, float("nan")), None), r"session 'a': .*cell \(0, 0\)"),
        ((None, 1, BINARY, None), "None is no session_id"),
    ],
)
def test_a_wrong_session_is_named(tmp_path: Path, row: Any, expected: str) -> None:
    """A row that is no grid is refused with its session."""
    with pytest.raises(InvalidInputError, match=expected):
        read_state(table(tmp_path / "s.db", row))


def test_a_session_that_contradicts_itself_is_damage(tmp_path: Path) -> None:
    """Metadata and grid have to agree about the size."""
    with pytest.raises(CorruptionError, match="says width 4, its grid has 3"):
        read_state(table(tmp_path / "s.db", ("a", 1, BINARY, '{"width": 4}')))


def test_databases_that_are_none(tmp_path: Path) -> None:
    """Another database, a view of that name, and a broken file are refused; nothing is written beside them."""
    with sqlite3.connect(tmp_path / "v.db") as connection:
        connection.execute("CREATE TABLE t (session_id, timestamp, memory_data, metadata)")
        connection.execute("CREATE VIEW memory_states AS SELECT * FROM t")
    connection.close()
    broken = table(tmp_path / "b.db", ("a", 1, BINARY, None)).read_bytes()
    (tmp_path / "b.db").write_bytes(broken[:5000] + b"\xff" * (len(broken) - 5000))

    assert detect_state(tmp_path / "v.db") is None
    with pytest.raises(InvalidInputError, match="no table memory_states"):
        read_state(tmp_path / "v.db", "toroidal-sqlite")
    with pytest.raises(CorruptionError, match="damaged"):
        read_state(tmp_path / "b.db", "toroidal-sqlite")
    with pytest.raises(InvalidInputError, match="no SQLite database"):
        read_state(Path(__file__), "toroidal-sqlite")
    with pytest.raises(InvalidInputError, match="has to be a file"):
        read_state(broken, "toroidal-sqlite")
    assert {"v.db", "b.db"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("cells", [np.zeros((0, 3)), np.zeros(3), np.array([[np.nan]]), np.array([["x"]])])
@pytest.mark.parametrize("format", GRID_FORMATS)
def test_what_is_no_grid_is_not_written(tmp_path: Path, format: str, cells: Any) -> None:
    """A grid has rows, columns and finite numbers; no file appears otherwise."""
    with pytest.raises(InvalidInputError):
        write_state(tmp_path / "x", format, {"cells": cells}, {"diffusion_config": RATES})
    assert [] == list(tmp_path.iterdir())


def test_which_format_fits() -> None:
    """Binary by default, JSON to look at, gzip for many, for the network and the archive."""
    assert "toroidal-bin" == suggest_format() == suggest_format(sessions=99)
    assert "toroidal-json" == suggest_format(purpose="inspect", sessions=500)
    assert "toroidal-gzip" == suggest_format(sessions=100) == suggest_format(purpose="network")
    with pytest.raises(InvalidInputError, match="no purpose"):
        suggest_format(purpose="fun")  # type: ignore[arg-type]
