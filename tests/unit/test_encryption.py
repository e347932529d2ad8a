from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_grpc.encryption import CannotDecrypt, KeyFileError, Keyring

ROW = ("user_1", "github")
SECRET = b'{"token": "SEKRET"}'


def key(fill: int) -> bytes:
    return bytes([fill]) * 32


@pytest.fixture
def ring() -> Keyring:
    return Keyring([key(1)])


def test_what_is_sealed_opens_for_its_row(ring: Keyring) -> None:
    for plaintext in (b"", b"x", SECRET, os.urandom(100_000)):
        sealed = ring.seal(plaintext, context=ROW)
        assert ring.open(sealed, context=ROW) == plaintext
        assert ring.key_id_of(sealed) == ring.current_key_id


def test_nothing_of_the_plaintext_shows_and_no_two_are_alike(ring: Keyring) -> None:
    sealed = {ring.seal(SECRET, context=ROW) for _ in range(100)}
    assert len(sealed) == 100
    assert not any(b"SEKRET" in each for each in sealed)


@pytest.mark.parametrize(
    "other",
    [("user_2", "github"), ("user_1", "x"), ("github", "user_1"), ("user_1",), (), ("user_1github",),
     ("user_1", "github", ""), ("", "user_1", "github"), ("user_1g", "ithub")],
)  # fmt: skip
def test_it_does_not_open_in_another_row(ring: Keyring, other: tuple[str, ...]) -> None:
    sealed = ring.seal(SECRET, context=ROW)
    with pytest.raises(CannotDecrypt):
        ring.open(sealed, context=other)


def test_every_changed_bit_is_noticed(ring: Keyring) -> None:
    sealed = ring.seal(SECRET, context=ROW)
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CannotDecrypt) as caught:
            ring.open(bytes(changed), context=ROW)
        assert str(caught.value) == "the stored value cannot be decrypted"


def test_what_is_cut_or_extended_does_not_open(ring: Keyring) -> None:
    sealed = ring.seal(SECRET, context=ROW)
    for changed in [sealed[:n] for n in range(len(sealed))] + [sealed + b"\x00"]:
        with pytest.raises(CannotDecrypt):
            ring.open(changed, context=ROW)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_cannot_decrypt(ring: Keyring, junk: bytes) -> None:
    with pytest.raises(CannotDecrypt):
        ring.open(junk, context=ROW)


def test_a_new_key_seals_and_the_old_one_still_opens() -> None:
    old, both, new = Keyring([key(1)]), Keyring([key(2), key(1)]), Keyring([key(2)])
    sealed = old.seal(SECRET, context=ROW)
    assert both.open(sealed, context=ROW) == SECRET
    assert both.key_id_of(sealed) == old.current_key_id != both.current_key_id
    assert both.key_ids == {old.current_key_id, new.current_key_id}
    resealed = both.seal(both.open(sealed, context=ROW), context=ROW)
    assert new.open(resealed, context=ROW) == SECRET
    with pytest.raises(CannotDecrypt):
        new.open(sealed, context=ROW)  # its key has left the ring
    assert new.key_id_of(sealed) == old.current_key_id


def test_digests_are_known_again_under_a_newer_key_and_to_nobody_without_one() -> None:
    old, new = os.urandom(32), os.urandom(32)
    (kept,) = Keyring([old]).digests(b"correct horse", purpose="a")
    assert kept in Keyring([new, old]).digests(b"correct horse", purpose="a")
    assert kept not in Keyring([new]).digests(b"correct horse", purpose="a")
    assert kept not in Keyring([old]).digests(b"correct horse", purpose="b")
    assert kept not in Keyring([old]).digests(b"another horse", purpose="a")


def test_a_value_relabelled_with_another_key_of_the_ring_does_not_open() -> None:
    both = Keyring([key(2), key(1)])
    sealed = both.seal(SECRET, context=ROW)
    other = bytes.fromhex(Keyring([key(1)]).current_key_id)
    with pytest.raises(CannotDecrypt):
        both.open(sealed[:1] + other + sealed[9:], context=ROW)


def test_the_key_id_tells_nothing_of_the_key() -> None:
    assert len(Keyring([key(1)]).current_key_id) == 16
    assert Keyring([key(1)]).current_key_id not in key(1).hex()
    assert Keyring([key(1)]).current_key_id == Keyring([key(1)]).current_key_id


def test_keys_may_be_written_in_either_base64_with_or_without_padding(tmp_path: Path) -> None:
    raw = b"\xfb\xff" * 16
    spellings = [base64.b64encode(raw), base64.urlsafe_b64encode(raw)]
    texts = [each.decode() for each in spellings] + [
        each.decode().rstrip("=") for each in spellings
    ]
    ids = {Keyring.load((text,), tmp_path).current_key_id for text in texts}
    assert ids == {Keyring([raw]).current_key_id}
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    "text",
    ["", "SEKRET", "SEKRET!", base64.b64encode(bytes(16)).decode(), base64.b64encode(bytes(33)).decode(),
     "k" * 100, "é" * 43, "SEK RET" * 7],
)  # fmt: skip
def test_a_wrong_key_is_told_in_one_line_without_showing_it(tmp_path: Path, text: str) -> None:
    good = base64.b64encode(key(1)).decode()
    with pytest.raises(ValueError, match=r"key 2 .* 32 bytes in base64") as caught:
        Keyring.load((good, text), tmp_path)
    assert "\n" not in str(caught.value)
    assert not text or text not in str(caught.value)
    assert good not in str(caught.value)


def test_without_keys_one_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first = Keyring.load((), tmp_path / "data")
    path = tmp_path / "data" / "keys" / "credentials.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    sealed = first.seal(SECRET, context=ROW)
    assert Keyring.load((), tmp_path / "data").open(sealed, context=ROW) == SECRET
    assert Keyring.load((), tmp_path / "other").current_key_id != first.current_key_id


def test_the_local_key_can_be_moved_into_the_settings(tmp_path: Path) -> None:
    local = Keyring.load((), tmp_path)
    text = (tmp_path / "keys" / "credentials.key").read_text().strip()
    assert Keyring.load((text,), tmp_path).current_key_id == local.current_key_id


@pytest.mark.parametrize("content", [b"", b"SEKRET", b"\xff" * 32, os.urandom(32)])
def test_a_broken_key_file_is_told_and_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys" / "credentials.key"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(KeyFileError) as caught:
        Keyring.load((), tmp_path)
    assert str(path) in str(caught.value)
    assert "SEKRET" not in str(caught.value)
    assert path.read_bytes() == content


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from distill_grpc.encryption import Keyring; sys.stdin.read();"
        "print(Keyring.load((), pathlib.Path(sys.argv[1])).current_key_id)"
    )
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for each in starters:
        assert each.stdin is not None
        each.stdin.close()
        each.stdin = None
    ids = {each.communicate(timeout=60)[0].strip() for each in starters}
    assert len(ids) == 1
    assert ids != {""}


@pytest.mark.parametrize("keys", [[], [b"short"], [key(1), b""]])
def test_a_ring_needs_whole_keys(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Keyring(keys)
