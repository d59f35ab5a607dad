"""Downloads arrive whole and with the right hash or not at all; archives cannot write where they should not."""

import socket
import tarfile

import pytest

from gendistill.data import download as module
from gendistill.data.download import download, extract, image_members, open_archive
from gendistill.errors import UserError
from tests.small_archives import hash_of, served, write_tar

CONTENT = bytes(range(256)) * 20_000


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder whose files can be downloaded, and its address."""
    monkeypatch.setattr(module, "PAUSE", 0)
    with served(tmp_path / "site") as address:
        (tmp_path / "site" / "thing.tar").write_bytes(CONTENT)
        yield tmp_path / "site", address


def files_in(folder):
    return sorted(p.name for p in folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_a_download_is_what_was_served(site, tmp_path, algorithm):
    folder, address = site
    path = tmp_path / "new" / "thing.tar"
    assert download(address + "thing.tar", path, algorithm, hash_of(folder / "thing.tar", algorithm)) == path
    assert path.read_bytes() == CONTENT
    assert files_in(path.parent) == ["thing.tar"]


def test_what_is_there_with_the_right_hash_is_not_downloaded(tmp_path):
    path = tmp_path / "thing.tar"
    path.write_bytes(CONTENT)
    # Nothing answers at this address.
    assert download("http://127.0.0.1:9/thing.tar", path, "md5", hash_of(path, "md5")) == path


def test_what_is_there_with_another_hash_is_replaced(site, tmp_path, capsys):
    folder, address = site
    path = tmp_path / "thing.tar"
    path.write_bytes(CONTENT[:-1])
    download(address + "thing.tar", path, "md5", hash_of(folder / "thing.tar", "md5"))
    assert path.read_bytes() == CONTENT
    assert "not the original" in capsys.readouterr().err


def test_a_wrong_hash_leaves_what_was_there_and_says_what_to_do(site, tmp_path):
    path = tmp_path / "thing.tar"
    path.write_bytes(b"mine")
    with pytest.raises(UserError) as caught:
        download(site[1] + "thing.tar", path, "sha256", "ab" * 32)
    message = str(caught.value)
    assert site[1] + "thing.tar" in message
    assert f"put the original file (SHA256 {'ab' * 32}) at {path} by hand" in message
    assert hash_of(site[0] / "thing.tar", "sha256") in message
    assert path.read_bytes() == b"mine"
    assert files_in(tmp_path) == ["site", "thing.tar", "thing.tar"]


def test_a_cut_connection_is_tried_again_and_then_explained(site, tmp_path, capsys):
    folder, address = site
    (folder / "thing.tar.fault").write_text("cut")
    path = tmp_path / "data" / "thing.tar"
    with pytest.raises(UserError, match=rf"ended after 2,560,000 of 5,120,000 bytes.* at {path} by hand"):
        download(address + "thing.tar", path, "md5", hash_of(folder / "thing.tar", "md5"))
    assert files_in(path.parent) == []
    assert [line[-8:] for line in capsys.readouterr().err.splitlines()] == ["(2 of 3)", "(3 of 3)"]


def test_a_busy_server_is_tried_again(site, tmp_path, capsys):
    folder, address = site
    (folder / "thing.tar.fault").write_text("503")
    download(address + "thing.tar", tmp_path / "thing.tar", "md5", hash_of(folder / "thing.tar", "md5"))
    assert (tmp_path / "thing.tar").read_bytes() == CONTENT
    assert "503" in capsys.readouterr().err


def test_a_missing_page_is_not_tried_again(site, tmp_path, capsys):
    with pytest.raises(UserError, match="404"):
        download(site[1] + "absent.tar", tmp_path / "absent.tar", "md5", "0")
    assert "trying again" not in capsys.readouterr().err


def test_a_server_that_falls_silent_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0)
    monkeypatch.setattr(module, "SILENCE", 0.05)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with pytest.raises(UserError, match="timed out"):
            download(f"http://127.0.0.1:{listening.getsockname()[1]}/thing", tmp_path / "thing", "md5", "0")


def test_a_disk_that_refuses_is_not_blamed_on_the_network(site, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="could not write"):
        download(site[1] + "thing.tar", tmp_path / "file" / "thing.tar", "md5", "0")


# Archives

LEAVING = [
    ({"../evil.jpg": b"bad"}, {}),
    ({"Images/../../evil.jpg": b"bad"}, {}),
    ({}, {"Images/a/evil.jpg": "../../../outside"}),
]


@pytest.mark.parametrize(("members", "links"), LEAVING)
def test_a_member_that_leaves_the_folder_is_refused(tmp_path, members, links):
    path = write_tar(tmp_path / "bad.tar", {"Images/a/good.jpg": b"good", **members}, links=links)
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    for use in (lambda: extract(path, target), lambda: image_members(open_archive(path), "Images")):
        with pytest.raises(UserError, match=rf"{path}.*evil.*outside"):
            use()
    assert not [p for p in tmp_path.rglob("*evil*") if p.exists() or p.is_symlink()]
    assert files_in(target) == []


def test_an_archive_appears_whole(tmp_path):
    path = write_tar(tmp_path / "good.tar.gz", {"val/1.jpg": b"one", "val/2.jpg": b"two", "list.txt": b"a"}, "w:gz")
    target = tmp_path / "target"
    target.mkdir()
    extract(path, target)
    assert {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()} == {
        "val/1.jpg": b"one",
        "val/2.jpg": b"two",
        "list.txt": b"a",
    }


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_truncated_archive_leaves_nothing(tmp_path, mode):
    path = write_tar(tmp_path / "cut.tar", {"val/1.jpg": bytes(5000), "val/2.jpg": CONTENT[:50_000]}, mode)
    path.write_bytes(path.read_bytes()[: 30_000 if mode == "w" else 300])
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(UserError, match=rf"{path} could not be extracted"):
        extract(path, target)
    assert files_in(target) == []


def test_no_archive_at_all_is_explained(tmp_path):
    (tmp_path / "page.tar").write_bytes(b"<html>Please log in</html>")
    with pytest.raises(UserError, match=r"page.tar could not be extracted"):
        open_archive(tmp_path / "page.tar")


def test_images_are_found_in_their_folder_only(tmp_path):
    names = ["Images/b/2.jpg", "Images/a/1.JPG", "x/Images/c/With space.jpg", "Images/a/b/3.jpg", "Images/4.jpg", "Other/a/5.jpg"]
    contents = {name: name.encode() for name in [*names, "Images/a/Thumbs.db"]}
    path = write_tar(tmp_path / "a.tar", contents, links={"Images/a/link.jpg": "1.JPG"})
    with open_archive(path) as archive:
        members = image_members(archive, "Images")
        assert list(members) == ["a/1.JPG", "b/2.jpg", "c/With space.jpg"]
        assert archive.extractfile(members["b/2.jpg"]).read() == b"Images/b/2.jpg"
        assert all(isinstance(member, tarfile.TarInfo) for member in members.values())
