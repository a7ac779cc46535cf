"""What a policy document can be associated with."""

import msgspec


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint; or a service; or a service in a region and all regions below it."""

    endpoint_id: str | None = None
    service_id: str | None = None
    region_id: str | None = None

    @property
    def key(self) -> str:
        """The place as one text: a place has at most one policy document."""
        if self.endpoint_id is not None:
            return f"endpoint/{self.endpoint_id}"
        return f"service/{self.service_id}" + (f"/region/{self.region_id}" if self.region_id is not None else "")
