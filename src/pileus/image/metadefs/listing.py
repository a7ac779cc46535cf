"""The query strings of lists of metadata definitions."""

from urllib.parse import urlencode

from pileus.image.metadefs.domain import VISIBILITIES, Filters
from pileus.image.settings import ImageSettings
from pileus.kernel.auth import Actor
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Query
from pileus.kernel.paging import Page, parse_limit, parse_sort

_NAMESPACE_KEYS = {
    name: name
    for name in ("id", "namespace", "display_name", "visibility", "protected", "owner", "created_at", "updated_at")
}
_CONTENT_KEYS = {name: name for name in ("name", "created_at", "updated_at")}
_WHOLE = (1 << 31) - 2
"""Content is listed whole where the caller sets no limit, for its list has no address of a next page."""


def parse_filters(query: Query, actor: Actor) -> Filters:
    """What a list of namespaces is narrowed by. BadRequest if the visibility is none."""
    visibility = query.get("visibility") or None
    if visibility is not None and visibility not in VISIBILITIES:
        raise BadRequest(f"Invalid visibility value: {visibility}. It must be one of: {', '.join(VISIBILITIES)}.")
    return Filters(
        visible_to=None if actor.is_admin else actor.owner,
        visibility=visibility,
        owner=query.get("owner"),
        resource_types=tuple(name for text in query.all("resource_types") for name in text.split(",") if name),
    )


def parse_page(query: Query, settings: ImageSettings) -> Page:
    """Which page of namespaces, in which order. BadRequest."""
    limit = parse_limit(query.get("limit"), settings.page_limit, settings.page_default)
    return _page(query, limit, _NAMESPACE_KEYS, "id")


def parse_content_page(query: Query) -> Page:
    """Which page of what a namespace holds, in which order. BadRequest."""
    return _page(query, parse_limit(query.get("limit"), _WHOLE), _CONTENT_KEYS, "name")


def _page(query: Query, limit: int, keys: dict[str, str], unique: str) -> Page:
    direction = query.get("sort_dir", "desc") or "desc"
    sort = parse_sort(
        [query.get("sort_key", "created_at") or "created_at"],
        [direction],
        keys,
        default=(("created_at", "desc"), (unique, "desc")),
    )
    return Page(limit, query.get("marker") or None, sort)


def first_link(base: str, query: Query) -> str:
    """The address of the first page: the request's own without its marker."""
    kept = urlencode([(key, value) for key, value in query.pairs if key != "marker"])
    return f"{base}?{kept}" if kept else base
