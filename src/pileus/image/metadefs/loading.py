"""Files of metadata definitions: one namespace each, in the JSON that the API takes too."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from pileus.image.metadefs import schemas
from pileus.image.metadefs.domain import Definition
from pileus.kernel.errors import BadRequest
from pileus.kernel.fields import MALFORMED_JSON


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files that are meant: of a directory, all that end in `.json`. BadRequest if a directory has none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.glob("*.json") if one.is_file())
            if not inside:
                raise BadRequest(f"{path}: there is no file here that ends in .json.")
            found.extend(inside)
        else:
            found.append(path)
    return found


def read_all(paths: Iterable[Path]) -> list[tuple[Path, Definition]]:
    """The definitions of all files that are meant. BadRequest has a line for each file that is wrong."""
    definitions: list[tuple[Path, Definition]] = []
    wrong: list[str] = []
    for path in files_of(paths):
        try:
            definitions.append((path, read(path)))
        except BadRequest as err:
            wrong.append(err.message)
    if wrong:
        raise BadRequest("\n".join(wrong))
    return definitions


def read(path: Path) -> Definition:
    """The definition that a file holds. BadRequest names the file and the field that is wrong."""
    try:
        data = path.read_bytes()
        msgspec.json.decode(data)
        return schemas.definition(schemas.NAMESPACE_FILE.decode(data))
    except OSError as err:
        raise BadRequest(f"{path}: cannot be read: {err.strerror}.") from err
    except MALFORMED_JSON as err:
        raise BadRequest(f"{path}: is not JSON: {err}.") from err
    except BadRequest as err:
        raise BadRequest(f"{path}: {err.message}") from err
