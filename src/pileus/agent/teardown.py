"""Removes every trace of this site's guests and networks from the host: for `pileus down`."""

from pileus.kernel.clock import SystemClock
from pileus.settings import Settings


def remove_everything(settings: Settings) -> None:
    """End all guests, their power cut, and remove namespaces, interfaces, rules and the daemons that served them.

    Safe to repeat, also after it was cut off. Disks, images and what the agent remembers of guests stay in the state
    directory; of networks nothing is remembered that is not there any more.
    """
    if settings.agent.hypervisor == "libvirt":
        from pileus.drivers.hypervisor.libvirt.opening import remove_site  # noqa: PLC0415 - only the one in use

        remove_site(settings.libvirt, settings.site, SystemClock())
    if settings.agent.network == "linux":
        from pileus.agent.main import make_network  # noqa: PLC0415

        make_network(settings).remove_everything()
