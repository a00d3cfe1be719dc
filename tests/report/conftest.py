from collections.abc import Iterator
from typing import Any

import browsing
import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    with browsing.launched() as browser:
        yield browser
