"""Files of metadata definitions: one namespace each, in the JSON that the API takes too."""

from collections.abc import Iterable
from pathlib import Path

from pileus.image.metadefs import schemas
from pileus.image.metadefs.domain import Definition
from pileus.kernel.errors import BadRequest


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


def read(path: Path) -> Definition:
    """The definition that a file holds. BadRequest names the file and the field that is wrong."""
    try:
        return schemas.definition(schemas.NAMESPACE_FILE.decode(path.read_bytes()))
    except OSError as err:
        raise BadRequest(f"{path}: cannot be read: {err.strerror}.") from err
    except BadRequest as err:
        raise BadRequest(f"{path}: {err.message}") from err
