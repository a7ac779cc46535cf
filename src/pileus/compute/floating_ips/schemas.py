"""Request bodies of floating IPs."""

from pileus.kernel.fields import Body, Param, Text

CREATE = Body(None, Param("pool", Text(0, 255), default=None, nullable=True))
ADD = Body(
    None,
    Param(
        "addFloatingIp",
        (Param("address", Text(1, 45), required=True), Param("fixed_address", Text(1, 45), default=None)),
        required=True,
        attr="wanted",
    ),
)
REMOVE = Body(
    None, Param("removeFloatingIp", (Param("address", Text(1, 45), required=True),), required=True, attr="wanted")
)
