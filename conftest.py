"""Doctests run in a folder of their own: the README's examples write files."""

import pytest


@pytest.fixture(autouse=True)
def doctests_write_elsewhere(request, monkeypatch, tmp_path):
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(tmp_path)
