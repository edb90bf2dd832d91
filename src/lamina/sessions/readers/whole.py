"""Documents of JSON that are read whole, within bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from lamina.errors import InvalidInputError
from lamina.fs import read_file

__all__ = ["MAX_DOCUMENT_BYTES", "whole_json"]

MAX_DOCUMENT_BYTES: Final = 512 << 20


def whole_json(path: Path) -> Any:
    """Return a file's JSON.

    Raises:
        InvalidInputError: It is none, or larger than 512 MB.
        NotFoundError: There is no such file.
        StorageError: It cannot be read.
    """
    data = read_file(path, max_bytes=MAX_DOCUMENT_BYTES)
    if not data.strip():
        raise InvalidInputError(f"{path} is empty.", hint="Import it when something is in it.", path=str(path))
    try:
        return json.loads(data.removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path} is not UTF-8 (byte {error.start + 1}).", hint="Save it as UTF-8.", path=str(path)
        ) from None
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{path} is not JSON: {str(error)[:160]}.", hint="Is it whole? Import it again when it is.", path=str(path)
        ) from None
