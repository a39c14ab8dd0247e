"""What the tests of broken histories share."""

import pytest

from testing.doctoring import Case, clean_case


@pytest.fixture
async def case() -> Case:
    return await clean_case()
