"""OS-ENDPOINT-POLICY: which policy document an endpoint has."""

from tests.identity.conftest import Cloud


class Places:
    """A service with an endpoint in a region below another, and three policy documents."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        cloud.make("region", id="north")
        cloud.make("region", id="oslo", parent_region_id="north")
        self.service = cloud.make("service", type="weather")["id"]
        self.endpoint = cloud.make(
            "endpoint", service_id=self.service, interface="public", url="http://w", region_id="oslo"
        )
        self.policies = [cloud.make("policy", type="text", blob=str(number))["id"] for number in range(3)]

    def path(self, policy: str, place: str) -> str:
        return f"/policies/{policy}/OS-ENDPOINT-POLICY/{place}"

    def policy(self) -> str | None:
        """The document that the endpoint has."""
        path = f"/endpoints/{self.endpoint['id']}/OS-ENDPOINT-POLICY/policy"
        answer = self.cloud.call("GET", path, token=self.cloud.admin)
        if answer.status_code == 404:
            return None
        found: str = answer.json["policy"]["id"]
        assert answer.json["policy"] == self.cloud.ok("GET", f"/policies/{found}")["policy"]
        return found

    def endpoints(self, policy: str) -> list[str]:
        return [one["id"] for one in self.cloud.ok("GET", self.path(policy, "endpoints"))["endpoints"]]


def test_the_nearest_policy_counts(any_cloud: Cloud) -> None:
    cloud, places = any_cloud, Places(any_cloud)
    of_service, of_region, own = places.policies
    assert places.policy() is None
    cloud.ok("PUT", places.path(of_service, f"services/{places.service}"))
    assert places.policy() == of_service
    cloud.ok("PUT", places.path(of_region, f"services/{places.service}/regions/north"))
    assert places.policy() == of_region, "from the region above"
    cloud.ok("PUT", places.path(own, f"endpoints/{places.endpoint['id']}"))
    assert places.policy() == own
    assert [places.endpoints(policy) for policy in places.policies] == [[places.endpoint["id"]]] * 3

    cloud.ok("PUT", places.path(of_region, f"endpoints/{places.endpoint['id']}"))
    assert places.policy() == of_region, "a place has one policy: the last"
    assert (
        cloud.call("GET", places.path(own, f"endpoints/{places.endpoint['id']}"), token=cloud.admin).status_code == 404
    )
    assert places.endpoints(own) == []


def test_associations_are_checked_and_ended(any_cloud: Cloud) -> None:
    cloud, places = any_cloud, Places(any_cloud)
    policy, other, _ = places.policies
    for place in (
        f"endpoints/{places.endpoint['id']}",
        f"services/{places.service}",
        f"services/{places.service}/regions/oslo",
    ):
        path = places.path(policy, place)
        assert cloud.call("GET", path, token=cloud.admin).status_code == 404
        cloud.ok("PUT", path)
        cloud.ok("PUT", path)
        assert cloud.call("GET", path, token=cloud.admin).status_code == 204
        assert cloud.call("HEAD", path, token=cloud.admin).status_code == 204
        cloud.ok("DELETE", places.path(other, place))
        assert places.policy() == policy, "only the association with the named policy ends"
        cloud.ok("DELETE", path)
        assert places.policy() is None
    for unknown in ("endpoints/none", "services/none", f"services/{places.service}/regions/none"):
        assert cloud.call("PUT", places.path(policy, unknown), token=cloud.admin).status_code == 404
    assert cloud.call("PUT", places.path("none", f"services/{places.service}"), token=cloud.admin).status_code == 404


def test_associations_go_with_their_ends(any_cloud: Cloud) -> None:
    cloud, places = any_cloud, Places(any_cloud)
    cloud.make("region", id="south")
    first, second, third = places.policies
    cloud.ok("PUT", places.path(first, f"endpoints/{places.endpoint['id']}"))
    cloud.ok("PUT", places.path(second, f"services/{places.service}"))
    cloud.ok("PUT", places.path(third, f"services/{places.service}/regions/south"))
    cloud.ok("DELETE", f"/policies/{first}")
    assert places.policy() == second
    cloud.ok("DELETE", "/regions/south")
    cloud.ok("DELETE", f"/endpoints/{places.endpoint['id']}")
    assert places.endpoints(second) == []
    cloud.ok("DELETE", f"/services/{places.service}")
    assert places.endpoints(second) == places.endpoints(third) == []


def test_who_may(cloud: Cloud) -> None:
    places = Places(cloud)
    project = cloud.make("project", name="p")["id"]
    member = cloud.user_with("member", f"projects/{project}")
    token = cloud.token({"project": {"id": project}}, id=member["id"], password="secret")
    path = places.path(places.policies[0], f"services/{places.service}")
    assert cloud.call("PUT", path, token=token).status_code == 403
    assert cloud.call("GET", path, token=token).status_code == 403
    assert cloud.call("GET", places.path(places.policies[0], "endpoints"), token=token).status_code == 403
