"""The tests as a user without rights run in a checkout that only its owner may enter."""

import os

import pytest
import unprivileged
from unprivileged import public_folder, run_without_rights

LAZY = "import probe; print(probe.NAME, os.getuid(), os.access(sys.argv[1], os.W_OK))"


@pytest.mark.skipif(os.getuid() != 0, reason="the checkout is this user's own: nothing is closed to it")
def test_a_checkout_in_a_closed_folder_is_imported_after_the_rights_are_dropped(monkeypatch):
    with public_folder() as folder:
        checkout = folder / "closed" / "check out"
        checkout.mkdir(parents=True)
        (checkout / "probe.py").write_text("NAME = 'probe'")
        (folder / "closed").chmod(0o700)
        monkeypatch.setattr(unprivileged, "ROOT", checkout)
        done = run_without_rights(LAZY, "json", cwd=folder, arguments=(checkout,))
    assert done.stdout.split() == ["probe", str(unprivileged.NOBODY), "False"], done.stderr
