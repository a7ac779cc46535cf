"""Errors in the shapes that Glance's clients read."""

from html import escape
from http import HTTPStatus
from typing import Any

from pileus.kernel.errors import PileusError


def error_shape(error: PileusError, status: int, accept: str) -> tuple[Any, str]:
    """`{"message", "code", "title"}` for who asks for JSON, and a page for others, as Glance does.

    python-glanceclient asks for nothing in particular, and finds the message in a page only.
    """
    title = HTTPStatus(status).phrase
    if "json" in accept:
        return {"message": error.message, "code": f"{status} {title}", "title": title}, "application/json"
    head = f"{status} {title}"
    page = (
        f"<html>\n <head>\n  <title>{head}</title>\n </head>\n <body>\n  <h1>{head}</h1>\n"
        f"  {escape(error.message)}\n </body>\n</html>\n"
    )
    return page.encode(), "text/html; charset=UTF-8"
