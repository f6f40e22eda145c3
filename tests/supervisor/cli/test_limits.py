from __future__ import annotations

import pytest

from tests.supervisor.cli.conftest import Cli


@pytest.mark.parametrize("words", [("pause", ""), ("resume", ""), ("limit", "", "1"), ("pause", "x" * 2000)])
def test_invalid_key_is_refused(cli: Cli, words: tuple[str, ...]):
    result = cli(*words)
    assert result.code == 2
    assert "KEY" in result.err
