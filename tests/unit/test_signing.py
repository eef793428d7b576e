import pytest

from services.contracts.errors import BadInput, MissingModel
from services.signing import open_signing_key, public_path, read_public_key


def test_the_key_is_made_once_and_private(tmp_path):
    path = tmp_path / "keys" / "signing.pem"
    key = open_signing_key(path)
    assert open_signing_key(path).seed == key.seed
    assert path.stat().st_mode & 0o077 == 0
    assert read_public_key(public_path(path)) == key.public
    assert sorted(file.name for file in path.parent.iterdir()) == ["signing.pem", "signing.pem.pub"]


def test_only_the_signed_message_verifies(tmp_path):
    key = open_signing_key(tmp_path / "signing.pem")
    signature = key.sign(b"message")
    assert key.public.verifies(signature, b"message")
    assert not key.public.verifies(signature, b"massage")
    assert not open_signing_key(tmp_path / "other.pem").public.verifies(signature, b"message")


def test_a_file_that_is_no_key_is_named(tmp_path):
    (tmp_path / "signing.pem").write_text("nonsense")
    with pytest.raises(BadInput, match=r"signing\.pem"):
        open_signing_key(tmp_path / "signing.pem")
    with pytest.raises(MissingModel, match=r"absent\.pub"):
        read_public_key(tmp_path / "absent.pub")
