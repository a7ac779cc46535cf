"""The compute API: the routes of all its parts under one prefix."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from pileus.compute.errors import error_shape
from pileus.compute.versions import DOCUMENTS, LEGACY, LEGACY_DOCUMENTS, LEGACY_PREFIX, MICROVERSIONS, PREFIX
from pileus.kernel.http import Call, Handler, Reply, Route, Service

S = TypeVar("S")


def bound(routes: Iterable[Route[S]], impl: S) -> tuple[Route[None], ...]:
    """Routes whose handlers know their service already, so that routes of different services fit into one table."""

    def bind(handler: Handler[S]) -> Handler[None]:
        def call_bound(call: Call, _nothing: None) -> Reply | dict[str, Any] | None:
            return handler(call, impl)

        return call_bound

    return tuple(replace(route, handler=bind(route.handler)) for route in routes)  # type: ignore[arg-type, misc]


def make_service(*tables: tuple[Route[None], ...]) -> Service[None]:
    """The compute API of several tables of `bound` routes."""
    return Service(
        name="compute",
        prefix=PREFIX,
        routes=tuple(route for table in tables for route in table),
        impl=None,
        error_shape=error_shape,
        exact_paths=True,
        microversions=MICROVERSIONS,
        request_id_headers=("X-Openstack-Request-Id", "X-Compute-Request-Id"),
        documents=DOCUMENTS,
    )


def make_legacy_service(*tables: tuple[Route[None], ...]) -> Service[None]:
    """The same at version 2.0, for clients that know no microversions."""
    return replace(
        make_service(*tables),
        name="compute-v2",
        prefix=LEGACY_PREFIX,
        microversions=LEGACY,
        documents=LEGACY_DOCUMENTS,
    )
