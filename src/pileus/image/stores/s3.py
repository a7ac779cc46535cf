"""Images as objects in an S3 bucket. An object is there when all of it is: that is how S3 itself works."""

import contextlib
import itertools
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

from pileus.image.stores.base import CHUNK
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.errors import NotFound, Unavailable
from pileus.kernel.ids import is_uuid

log = structlog.get_logger("pileus.image.stores")

_MIB = 1 << 20
_PARTS_OF_ONE_SIZE = 2000  # then parts double; S3 allows 10,000 of them, which so hold an image of a terabyte
_GONE = frozenset({"NoSuchKey", "404", "NotFound"})
_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 5, 60, 3


class S3Store:
    """The locator is the image's id; the object is named by it, after the store's prefix.

    Needs boto3 (`pip install pileus[s3]`). Credentials are given to boto3 alone: no URL, error or log line of ours has
    them, and boto3's own debug log is switched off.
    """

    kind = "s3"
    read_only = False

    def __init__(self, name: str, settings: StoreSettings) -> None:
        """ValueError if the settings or the machine lack what it needs."""
        if not settings.s3_bucket:
            raise ValueError(f"store '{name}' needs s3_bucket")
        try:
            import boto3  # noqa: F401, PLC0415 - 25 MB that only a cloud with such a store needs
        except ImportError as err:
            raise ValueError(f"store '{name}' is of the kind s3, which needs boto3: pip install pileus[s3]") from err
        self.name = name
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._made: Any = None
        self._lock = threading.Lock()

    @property
    def _client(self) -> Any:
        """The client, made when it is first needed: connections do not survive a fork."""
        with self._lock:
            if self._made is None:
                self._made = _client(self._settings)
            return self._made

    def write(self, image_id: str, chunks: Iterator[bytes]) -> str:
        key = self._key(image_id)
        parts = _parts(chunks, self._settings.s3_part_size * _MIB)
        first = next(parts, b"")
        second = next(parts, None)
        with self._reaching():
            if second is None:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=first)
                return image_id
            upload = self._client.create_multipart_upload(Bucket=self._bucket, Key=key)["UploadId"]
        with contextlib.ExitStack() as undo:
            undo.callback(self._abort, key, upload)
            sent = [
                self._send_part(key, upload, number, part)
                for number, part in enumerate(itertools.chain((first, second), parts), start=1)
            ]
            with self._reaching():
                self._client.complete_multipart_upload(
                    Bucket=self._bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": sent}
                )
            undo.pop_all()
        return image_id

    def _send_part(self, key: str, upload: str, number: int, part: bytes) -> dict[str, Any]:
        with self._reaching():
            answer = self._client.upload_part(
                Bucket=self._bucket, Key=key, UploadId=upload, PartNumber=number, Body=part
            )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _abort(self, key: str, upload: str) -> None:
        try:
            with self._reaching():
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)
        except (NotFound, Unavailable) as err:  # `discard` finds what is left of it
            log.warning("an unfinished upload could not be removed yet", store=self.name, key=key, error=str(err))

    def read(self, locator: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if length is not None and length <= 0:
            return iter(())
        span = f"bytes={start}-" + ("" if length is None else str(start + length - 1))
        with self._reaching(locator):
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=self._key(locator), Range=span)["Body"]
            except self._client.exceptions.ClientError as err:
                if _code(err) in ("InvalidRange", "416"):  # nothing begins there
                    return iter(())
                raise

        def bytes_of_it() -> Iterator[bytes]:
            with contextlib.closing(body), self._reaching(locator):
                while chunk := body.read(CHUNK):
                    yield chunk

        return bytes_of_it()

    def size(self, locator: str) -> int:
        with self._reaching(locator):
            return int(self._client.head_object(Bucket=self._bucket, Key=self._key(locator))["ContentLength"])

    def remove(self, locator: str) -> None:
        with contextlib.suppress(NotFound), self._reaching(locator):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(locator))

    def in_use(self, locator: str) -> bool:
        return False

    def discard(self, image_id: str) -> None:
        self.remove(image_id)
        key = self._key(image_id)
        for found, upload in self._uploads(key):
            if found == key:
                self._abort(found, upload)

    def images(self) -> tuple[str, ...]:
        prefix = self._settings.s3_prefix
        with self._reaching():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            keys = {found["Key"] for page in pages for found in page.get("Contents", ())}
        keys |= {key for key, _ in self._uploads(prefix)}
        names = {key.removeprefix(prefix) for key in keys}
        return tuple(sorted(name for name in names if is_uuid(name)))

    def _uploads(self, prefix: str) -> list[tuple[str, str]]:
        """Unfinished uploads: key and id."""
        with self._reaching():
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix)
            return [(found["Key"], found["UploadId"]) for page in pages for found in page.get("Uploads", ())]

    def url(self, locator: str) -> str:
        return f"s3://{self._bucket}/{self._key(locator)}"

    def locator_of(self, url: str) -> str | None:
        locator = url.removeprefix(f"s3://{self._bucket}/{self._settings.s3_prefix}")
        return locator if is_uuid(locator) else None

    def _key(self, locator: str) -> str:
        if not is_uuid(locator):
            raise NotFound(f"There is no image data {locator!r}.")
        return f"{self._settings.s3_prefix}{locator}"

    @contextlib.contextmanager
    def _reaching(self, locator: str = "") -> Iterator[None]:
        """Errors of the server as the store's own."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - with boto3

        try:
            yield
        except ClientError as err:
            if _code(err) in _GONE:
                raise NotFound(f"The data of image {locator} is gone.") from err
            log.warning("a store refuses", store=self.name, code=_code(err), operation=err.operation_name)
            raise Unavailable(f"Store '{self.name}' refuses: {_code(err)}.") from err
        except (BotoCoreError, OSError) as err:
            log.warning("a store cannot be reached", store=self.name, error=type(err).__name__)
            raise Unavailable(f"Store '{self.name}' cannot be reached.") from err


def _client(settings: StoreSettings) -> Any:
    import boto3  # noqa: PLC0415 - see above
    from botocore.config import Config  # noqa: PLC0415

    for name in ("boto3", "botocore", "s3transfer"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return boto3.session.Session().client(
        "s3",
        region_name=settings.s3_region,
        endpoint_url=settings.s3_endpoint or None,
        aws_access_key_id=settings.s3_access_key or None,
        aws_secret_access_key=settings.s3_secret_key or None,
        verify=None if settings.s3_ca_file == Path() else str(settings.s3_ca_file),
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"max_attempts": _ATTEMPTS, "mode": "standard"},
            s3={"addressing_style": "path" if settings.s3_path_style else "virtual"},
            # Image data has checksums of its own, and other servers than Amazon's do not know these.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _parts(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The bytes in parts of that size; of very many, later ones are larger."""
    held: list[bytes] = []
    have = 0
    number = 0
    for chunk in chunks:
        held.append(chunk)
        have += len(chunk)
        while have >= size:
            joined = b"".join(held)
            yield joined[:size]
            held, have = [joined[size:]], have - size
            number += 1
            if number % _PARTS_OF_ONE_SIZE == 0:
                size *= 2
    if have:
        yield b"".join(held)


def _code(err: Any) -> str:
    return str(err.response.get("Error", {}).get("Code", ""))
