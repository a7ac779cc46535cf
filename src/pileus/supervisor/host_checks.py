"""What a machine must have to run a cloud, and whether the cloud on it runs."""

import importlib.util
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from pileus.settings import Settings
from pileus.supervisor import processes
from pileus.supervisor.checks import Verdict, check, failed, good, warning

_NETWORK_PROGRAMS = {"ip": "iproute2", "nft": "nftables", "dnsmasq": "dnsmasq-base"}
_HYPERVISOR_PROGRAMS = {
    "libvirtd": "libvirt-daemon",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
}
_SBIN = "/usr/sbin:/sbin"
_ROOM = 2 << 30  # bytes: an image, its raw form and a few guests


@check("privileges", before_start=True)
def privileges(settings: Settings) -> Verdict:
    if os.geteuid() == 0:
        return good("running as root")
    if settings.agent.hypervisor == settings.agent.network == "fake":
        return good("not root, and the fake drivers need no privileges")
    return failed("not running as root, which making guests and networks needs", "run it with sudo")


@check("programs", before_start=True)
def programs(settings: Settings) -> Verdict:
    needed: dict[str, str] = {}
    if settings.agent.network == "linux":
        needed |= _NETWORK_PROGRAMS
    if settings.agent.hypervisor == "libvirt":
        needed |= _HYPERVISOR_PROGRAMS
    path = f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"
    missing = [name for name in needed if shutil.which(name, path=path) is None]
    if missing:
        packages = " ".join(sorted({needed[name] for name in missing}))
        return failed(f"not installed: {', '.join(missing)}", f"apt-get install {packages}")
    return good(f"{len(needed)} programs are there" if needed else "the fake drivers need none")


@check("libvirt binding", before_start=True)
def libvirt_binding(settings: Settings) -> Verdict:
    if settings.agent.hypervisor != "libvirt":
        return good("not needed by the fake hypervisor")
    if importlib.util.find_spec("libvirt") is None:
        return failed("the Python module libvirt is missing", "make install")
    return good("there")


@check("directories", before_start=True)
def directories(settings: Settings) -> Verdict:
    site = settings.site
    for path in (site.state_dir, site.run_dir, site.log_dir):
        nearest = next(parent for parent in (path, *path.parents) if parent.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            return failed(f"{path} cannot be written: {nearest} does not allow it", "set [site] in the configuration")
    return good(f"{site.state_dir}, {site.run_dir} and {site.log_dir} can be written")


@check("disk space")
def disk_space(settings: Settings) -> Verdict:
    path = settings.site.state_dir
    nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(nearest).free
    if free < _ROOM:
        return warning(f"only {free >> 20} MiB are free for {path}", "images and guests need more: free some space")
    return good(f"{free >> 30} GiB are free for {path}")


@check("kernel", before_start=True)
def kernel(settings: Settings) -> Verdict:
    if settings.agent.network != "linux":
        return good("not asked by the fake network")
    if not Path("/dev/net/tun").exists():
        return failed("/dev/net/tun is missing: guests cannot be connected", "modprobe tun")
    return good("taps can be made")


@check("port", before_start=True)
def port(settings: Settings) -> Verdict:
    from pileus.supervisor import serving  # noqa: PLC0415

    place = f"{settings.api.host}:{settings.api.port}"
    if processes.InstanceLock(settings.site.run_dir).holder() is not None:
        return good(f"{place} is ours")
    try:
        serving.listen(settings.api).close()
    except OSError as err:
        return failed(f"{place} cannot be listened on: {err.strerror}", "set [api] host and port, or stop what has it")
    return good(f"{place} is free")


@check("processes")
def running_processes(settings: Settings) -> Verdict:
    run_dir = settings.site.run_dir
    supervisor = processes.InstanceLock(run_dir).holder()
    names = sorted(path.stem for path in run_dir.glob("*.pid") if processes.recorded(path) is not None)
    if supervisor is None and names:
        return failed(f"left over without a supervisor: {', '.join(names)}", "pileus up or pileus down ends them")
    if supervisor is None:
        return warning("the cloud is not running here", "pileus up")
    return good(f"supervisor {supervisor} with {', '.join(names)}")


@check("api")
def api(settings: Settings) -> Verdict:
    if processes.InstanceLock(settings.site.run_dir).holder() is None:
        return warning("not asked, for the cloud is not running here")
    name = "127.0.0.1" if settings.api.host in ("0.0.0.0", "::") else settings.api.host  # noqa: S104 - compared
    url = f"http://{f'[{name}]' if ':' in name else name}:{settings.api.port}/"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return good(f"{url} answers {answer.status}")
    except urllib.error.HTTPError as err:
        return good(f"{url} answers {err.code}") if err.code < 500 else failed(f"{url} answers {err.code}")
    except OSError as err:
        return failed(f"{url} does not answer: {err}", f"see {settings.site.log_dir}/pileus.log")
