"""Steps from rows to rows: `base.py` has the protocol and the runner, each other file one step or what steps share.

Exported here is what the nano loop and the checks of our own banks use; the factory's steps are imported by file.
"""

# The function `normalise` takes the place of the module `normalise` as this package's attribute. Loading the module
# first keeps it so: Python binds a module to its package only when it is first loaded.
from safekeel.corpus.steps.normalise import Normalise
from safekeel.corpus.steps.toy import (
    NearIndex,
    decontaminate,
    drop_duplicates,
    jaccard,
    normalise,
    shingles,
    user_text,
)

__all__ = [
    "NearIndex",
    "Normalise",
    "decontaminate",
    "drop_duplicates",
    "jaccard",
    "normalise",
    "shingles",
    "user_text",
]
