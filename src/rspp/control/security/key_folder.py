"""Private keys lie in a folder that only its owner can read; they are made there, and never leave it but by reference.

    holder                        the folder's name for itself
    <created_at_ms>-<kid>.pem     PKCS 8, mode 0600; the time is in the name, so that a key cannot become young again

A file is written whole under another name and then renamed: there is never half a key. There is no default key anywhere:
a control process without one does not start, but for development on this machine alone (`how_to_start`).
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Final
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rspp.contract.errors import MisuseError
from rspp.control.security.keys import base64_of, kid_of
from rspp.control.security.tokens import KeyRef, private_key
from rspp.host.secrets import Secrets

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
HOLDER: Final = "holder"
LOCK: Final = "lock"
KEY_FILE: Final = re.compile(r"(?P<at>\d{1,15})-(?P<kid>[0-9a-f]{32})\.pem")


class HeldKey(msgspec.Struct, frozen=True, kw_only=True):
    """A private key that lies here, by reference."""

    kid: str
    public: str
    created_at_ms: int
    reference: str

    @property
    def ref(self) -> KeyRef:
        return KeyRef(self.kid, self.reference)


class KeyFolder:
    """One folder of private keys. Raises `MisuseError` if others can read it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def __repr__(self) -> str:
        return "KeyFolder()"

    @property
    def holder(self) -> str:
        """What the folder is called in the records of its public keys."""
        self._check()
        return (self.path / HOLDER).read_text().strip()

    def make(self) -> None:
        """Create the folder, closed to others, and name it."""
        try:
            self.path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(error) from error
        self._check_mode(self.path, FOLDER_MODE)
        if not (self.path / HOLDER).exists():
            self._write(HOLDER, token_hex(8).encode())

    def held(self) -> dict[str, KeyRef]:
        """What lies here, by key name, without opening any."""
        if not self.path.exists():
            return {}
        self._check()
        return {
            found["kid"]: KeyRef(found["kid"], f"file://{path}")
            for path in sorted(self.path.iterdir())
            if (found := KEY_FILE.fullmatch(path.name)) and self._is_safe(path)
        }

    def create_key(self, now_ms: int) -> HeldKey:
        """A new key, on disk when this returns."""
        self._check()
        if not self.is_writable:
            message = "keys are only read here; rotate them where their folder is kept"
            raise MisuseError("key_folder_unusable", message)
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
        kid = kid_of(public)
        name = f"{now_ms}-{kid}.pem"
        self._write(name, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return HeldKey(
            kid=kid, public=base64_of(public), created_at_ms=now_ms, reference=f"file://{self.path / name}"
        )

    def public(self, kid: str) -> str:
        """The public half of a key that lies here."""
        key = private_key(f"file://{self._file(kid)}", Secrets())
        return base64_of(key.public_key().public_bytes_raw())

    @property
    def is_writable(self) -> bool:
        """Keys can be made and discarded here. Where they are mounted to be read alone, who mounts them rotates them."""
        return os.access(self.path, os.W_OK)

    def created_at_ms(self, kid: str) -> int:
        found = KEY_FILE.fullmatch(self._file(kid).name)
        assert found is not None
        return int(found["at"])

    def discard(self, kid: str) -> None:
        """The private half is gone for good; nothing if it is not here, or is not ours to take away."""
        if self.is_writable and kid in self.held():
            self._file(kid).unlink(missing_ok=True)
            self._sync()

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Of all processes that share the folder one may rotate; False for who is not it."""
        self._check()
        number = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(number)

    def _file(self, kid: str) -> Path:
        ref = self.held().get(kid)
        if ref is None:
            raise MisuseError("key_missing", "this key's private half is not here")
        return Path(ref.reference.removeprefix("file://"))

    def _write(self, name: str, data: bytes) -> None:
        half = self.path / f".{name}.{token_hex(4)}"
        try:
            number = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            try:
                os.fchmod(number, FILE_MODE)
                os.write(number, data)
                os.fsync(number)
            finally:
                os.close(number)
            half.replace(self.path / name)
        except OSError as error:
            with suppress(OSError):
                half.unlink(missing_ok=True)
            raise _unusable(error) from error
        self._sync()

    def _sync(self) -> None:
        """The folder's own entry is on disk, too."""
        number = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(number)
        finally:
            os.close(number)

    def _check(self) -> None:
        if not (self.path / HOLDER).is_file():
            raise MisuseError(
                "key_folder_unusable", "there is no folder of keys; `rspp control init` makes it"
            )
        self._check_mode(self.path, FOLDER_MODE)

    def _is_safe(self, path: Path) -> bool:
        """False for a key that another process has just discarded; raises for one that others can read."""
        try:
            return self._check_mode(path, FILE_MODE)
        except FileNotFoundError:
            return False

    @staticmethod
    def _check_mode(path: Path, most: int) -> bool:
        """Nobody but its owner can do anything with it; raises if somebody can."""
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & ~most:
            raise MisuseError(
                "key_folder_open", f"{path.name} has mode {mode:04o}, and at most {most:04o} is safe"
            )
        return True


def first_key(folder: KeyFolder, now_ms: int) -> HeldKey:
    """The first key of a new control plane; raises `MisuseError` if there is one already."""
    folder.make()
    if folder.held():
        raise MisuseError("control_already_begun", "there is a key here already; rotate it instead")
    return folder.create_key(now_ms)


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """How a control process starts. `notice` is said aloud, if it is not empty."""

    dev: bool
    notice: str = ""


def how_to_start(*, bind: str, keys_held: int, dev: bool) -> Start:
    """Whether a control process may start like this; raises `MisuseError` if it may not.

    Without a key it starts only where nobody else can reach it and somebody asked for it; its key is then one of the moment.
    """
    if dev and not is_loopback(bind):
        message = f"dev mode listens on this machine alone, and {bind} is not that"
        raise MisuseError("control_dev_not_loopback", message)
    if keys_held:
        return Start(dev=dev, notice=_DEV if dev else "")
    if not dev:
        message = "there is no signing key and no default one: `rspp control init` makes it, `--dev` does without here"
        raise MisuseError("control_key_missing", message)
    return Start(dev=True, notice=f"{_DEV} Its key is made now and gone when it ends.")


def check_dev_store(store: str) -> None:
    """Raises `MisuseError` for a store that other machines use too.

    Dev mode makes itself an admin and a key there, and everybody who reads the same store would let its token in.
    """
    scheme, _, rest = store.partition("://")
    hosts = rest.partition("?")[0].rstrip("/").split(",")
    try:
        is_ours = scheme != "nats" or all(is_loopback(urlsplit(f"//{one}").hostname or "") for one in hosts)
    except ValueError:
        return  # no address at all: whoever opens it says so
    if not is_ours:
        message = "dev mode makes an admin and a key of its own, and this store is not of this machine alone: name the keys with --keys"
        raise MisuseError("control_dev_store_shared", message)


_DEV: Final = "Dev mode: for this machine alone, not for production."


def is_loopback(bind: str) -> bool:
    """Does this address reach no further than this machine? A name but `localhost` may resolve to anything."""
    if bind == "localhost":
        return True
    try:
        return ipaddress.ip_address(bind.strip("[]")).is_loopback
    except ValueError:
        return False


def _unusable(error: OSError) -> MisuseError:
    return MisuseError("key_folder_unusable", f"keys cannot be kept there: {error.strerror or 'it failed'}")
