import pytest

pytest.register_assert_rewrite("tests.small_data", "tests.tiny", "tests.tiny_project")
