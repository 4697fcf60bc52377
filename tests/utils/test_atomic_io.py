"""Files are written whole or not at all, with the permissions of the file that they replace."""

import os
import stat

import pytest

from parsgd.utils.atomic_io import write_atomically


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("permissions", [0o600, 0o400, 0o664])
def test_a_replaced_file_keeps_its_permissions_and_nobody_reads_it_before(tmp_path, permissions):
    path = tmp_path / "note"
    path.write_text("old")
    path.chmod(permissions)
    with write_atomically(path) as written:
        assert mode(written) == 0o600
        written.write_text("new")
    assert (path.read_text(), mode(path), os.listdir(tmp_path)) == ("new", permissions, ["note"])


def test_a_new_file_has_the_permissions_of_other_new_files(tmp_path):
    (tmp_path / "other").write_text("")
    with write_atomically(tmp_path / "note") as written:
        written.write_text("new")
    assert mode(tmp_path / "note") == mode(tmp_path / "other")


def test_a_failed_write_leaves_the_old_content_and_no_other_file(tmp_path):
    path = tmp_path / "note"
    path.write_text("old")

    def write_half():
        with write_atomically(path) as written:
            written.write_text("half")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        write_half()
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["note"])


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere'"), write_atomically(tmp_path / "nowhere" / "note"):
        pass
