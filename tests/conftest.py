"""Property tests draw the same examples in every run, so that a red run says something about the change that is tested.

SAFEKEEL_HYPOTHESIS=explore bash runs/test.sh -m hypothesis      # new examples: how finds are made
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("fixed", derandomize=True)
settings.register_profile("explore", print_blob=True)
settings.load_profile(os.environ.get("SAFEKEEL_HYPOTHESIS", "fixed"))
