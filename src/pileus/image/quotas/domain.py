"""The limits that the image service keeps to, under Glance's names."""

from collections.abc import Mapping

SIZE_TOTAL = "image_size_total"
STAGE_TOTAL = "image_stage_total"
COUNT_TOTAL = "image_count_total"
COUNT_UPLOADING = "image_count_uploading"
UNITS: Mapping[str, int] = {SIZE_TOTAL: 1 << 20, STAGE_TOTAL: 1 << 20, COUNT_TOTAL: 1, COUNT_UPLOADING: 1}
"""The limits, and in what unit (bytes, images) each is given."""
