"""The routes of images' bytes."""

import re
from collections.abc import Iterator

from pileus.image.common import own_image
from pileus.image.data.service import ImageData
from pileus.image.domain import Status
from pileus.image.service import Images
from pileus.kernel.arrivals import Arrivals
from pileus.kernel.errors import BadRequest, RangeNotSatisfiable, TooLarge, UnsupportedMediaType
from pileus.kernel.http import Call, Reply, Route

CHUNK = 1 << 20
_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,30})-([0-9]{0,30})\s*", re.IGNORECASE)
_SIZE = re.compile("[0-9]{1,18}")
OCTETS = "application/octet-stream"


def upload(call: Call, images: Images) -> None:
    """Upload binary image data."""
    check_body(call, images)
    with call.read() as tx:
        image = own_image(call, images, tx)
    store, size = call.header("X-Image-Meta-Store") or "", announced_size(call)
    images.stored.upload(image, chunks_of(call), store, size)


def download(call: Call, images: Images) -> Reply:
    """Download binary image data: of a deactivated image for administrators alone, who are to find out about it."""
    with call.read() as tx:
        image = images.get(tx, call.actor, call.params["image_id"])
    call.authorize(image.target())
    if image.status in (Status.QUEUED, Status.SAVING):
        return Reply(status=204)
    examined = image.status == Status.DEACTIVATED and call.actor.is_admin
    data = images.stored.wherever(image) if examined else images.stored.of(image)
    start, length = _range(call.header("Range"), data)
    headers = {"Content-MD5": image.checksum or "", "Accept-Ranges": "bytes"}
    if length != data.size:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{data.size}"
    return Reply(
        data.read(start, length),
        status=200 if length == data.size else 206,
        headers=headers,
        content_type=OCTETS,
        content_length=length,
    )


def check_body(call: Call, images: Images) -> None:
    """UnsupportedMediaType if the body is not sent as bytes, TooLarge if it says that it is too large."""
    content_type = (call.header("Content-Type") or "").split(";", 1)[0].strip().lower()
    if content_type != OCTETS:
        raise UnsupportedMediaType(f"Image data must be sent as {OCTETS}.")
    if call.content_length is not None and call.content_length > images.settings.size_limit:
        raise TooLarge(f"The image is larger than {images.settings.size_limit} bytes.")


def announced_size(call: Call) -> int | None:
    """How many bytes will come, None if the caller does not say. BadRequest if that makes no sense."""
    text = call.header("X-Openstack-Image-Size")
    if text is None:
        return call.content_length
    if not _SIZE.fullmatch(text):
        raise BadRequest("x-openstack-image-size must be a number of bytes.")
    if call.content_length not in (None, int(text)):
        raise BadRequest(f"x-openstack-image-size is {text}, but the content's length is {call.content_length}.")
    return int(text)


def chunks_of(call: Call) -> Iterator[bytes]:
    """The body as it arrives. BadRequest at its end if it is not as large as was announced, or the caller went away."""
    announced, size = announced_size(call), 0
    length = call.content_length
    arrivals = Arrivals(call.peer) if announced is None else None
    while length is None or size < length:
        chunk = call.stream.read(CHUNK if length is None else min(CHUNK, length - size))
        if not chunk:
            break
        size += len(chunk)
        if announced is not None and size > announced:
            raise BadRequest(f"{announced} bytes of data were announced, and more came.")
        yield chunk
    if arrivals is not None and arrivals.cut_off(size):
        raise BadRequest(f"The upload broke off after {size} bytes.")
    if announced is not None and size < announced:
        raise BadRequest(f"The upload broke off: {announced} bytes of data were announced, and {size} came.")


def _range(header: str | None, data: ImageData) -> tuple[int, int]:
    """The start and length that a Range header asks for (RFC 9110, section 14.2; one range)."""
    if header is None:
        return 0, data.size
    found = _RANGE.fullmatch(header)
    if found is None or not any(found.groups()):
        raise RangeNotSatisfiable(f"The range '{header}' is not understood.")
    first, last = found.groups()
    if not first:
        start, end = max(data.size - int(last), 0), data.size - 1
    else:
        start, end = int(first), min(int(last), data.size - 1) if last else data.size - 1
    if start > end or start >= data.size:
        raise RangeNotSatisfiable(f"The image has only {data.size} bytes.")
    return start, end - start + 1


ROUTES: tuple[Route[Images], ...] = (
    Route("PUT", "/images/{image_id}/file", upload, "upload_image", status=204, raw=True, targeted=True),
    Route("GET", "/images/{image_id}/file", download, "download_image", targeted=True),
)
