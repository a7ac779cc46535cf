"""The guest image by itself: seconds from the start of plain QEMU to its SSH banner, and the login after it.

`python bench/guest_boot.py [--output DIR] [--runs N] [--memory MIB]`. One emulated CPU (TCG), user-mode network,
configuration drive on IDE. The machine should be quiet: the load average is printed with the figures.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from pileus.guest_image.builder import GuestImage, build
from pileus.guest_image.programs import run
from pileus.guest_image.trial import PLAIN_OPTIONS, Trial, config_drive

GOALS = {"whole disk": 9.0, "kernel + ramdisk + root": 5.5, "the same, image's options": 5.5}


def measure(image: GuestImage, form: str, directory: Path, memory: int) -> tuple[float, float]:
    """Seconds to the banner, and to the end of a command run by SSH."""
    directory.mkdir()
    run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", directory / "key"])
    drive = config_drive(
        directory / "config.iso",
        {"uuid": directory.name, "hostname": "bench", "public_keys": {"k": (directory / "key.pub").read_text()}},
    )
    options = image.options if form == "the same, image's options" else PLAIN_OPTIONS
    guest = Trial(image, directory / "guest", form == "whole disk", drive, options, memory)
    with guest:
        banner = guest.wait_for_banner()
        guest.ssh("true", "-i", directory / "key")
        return banner, time.monotonic() - guest.started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/guest-image"))
    parser.add_argument("--cache", type=Path, default=Path("build/guest-packages"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", type=int, default=128)
    arguments = parser.parse_args()
    image = build(arguments.output, arguments.cache, print)
    print(f"load average {os.getloadavg()[0]:.2f}, {arguments.memory} MiB, median (best) of {arguments.runs}")
    print(f"{'form':<28}{'banner s':>16}{'login s':>16}{'goal s':>8}")
    with tempfile.TemporaryDirectory(prefix="guest-boot-") as scratch:
        for number, (form, goal) in enumerate(GOALS.items()):
            figures = [
                measure(image, form, Path(scratch) / f"{number}-{turn}", arguments.memory)
                for turn in range(arguments.runs)
            ]
            columns = [f"{statistics.median(column):.2f} ({min(column):.2f})" for column in zip(*figures, strict=True)]
            print(f"{form:<28}{columns[0]:>16}{columns[1]:>16}{goal:>8}")


if __name__ == "__main__":
    main()
