"""Parameters of tests that build networks: one variant of each family, and in long runs all."""

import pytest

from hrjax import models

FIRST = {family: name for name, family in reversed(models.FAMILIES.items())}  # by family
EVERY = [
    pytest.param(name, marks=() if FIRST[family] == name else pytest.mark.long)
    for name, family in models.FAMILIES.items()
]
