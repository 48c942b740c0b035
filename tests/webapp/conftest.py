"""The page as its users have it: in a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from xray.webapp.child import Page, serve_page


@pytest.fixture(scope="session")
def served(saved_model: Path) -> Iterator[Page]:
    """With a tiny model and every other setting as it is by default."""
    with serve_page("--model", saved_model) as page:
        yield page
