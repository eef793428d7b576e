"""Vault: the keys of one gallery in one transaction. Master keys open subjects' keys; those open everything else."""

import secrets

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.contracts.errors import BadInput
from services.gallery.keys import KeyProvider, MasterKeys
from services.gallery.schema import SECRETS, SUBJECTS
from services.gallery.sealing import Altered, Seal, make_key


class Vault:
    """Opens and closes what lies in a gallery.

    Args:
        connection: An open transaction.
        provider: Hands out master keys.
        location: Of the gallery, for messages.
    """

    def __init__(self, connection: Connection, provider: KeyProvider, location: str) -> None:
        self._connection = connection
        self._provider = provider
        self.location = location
        # Read before the first row is: a key retired from now on is still known here.
        self._keys = provider.read()
        self._seals: dict[str, Seal] = {}
        self._secrets: dict[str, bytes] = {}

    def person(self, person_id: str) -> Seal:
        """The seal of one subject's rows.

        Raises:
            BadInput: Its key does not open, or is not there.
        """
        if person_id not in self._seals:
            query = sa.select(SUBJECTS.c.key_id, SUBJECTS.c.wrapped).where(SUBJECTS.c.person_id == person_id)
            row = self._connection.execute(query).first()
            if row is None:
                raise self.refuse(f"rows of a subject {person_id} whose key is gone")
            self.learn(person_id, row.key_id, row.wrapped)
        return self._seals[person_id]

    def learn(self, person_id: str, key_id: str, wrapped: bytes) -> None:
        """Open a subject's key that was read along with other rows."""
        self._seals[person_id] = Seal(self._unwrap(key_id, wrapped, "subject", person_id))

    def add_person(self) -> tuple[str, str, bytes]:
        """A new subject: random id, id of the master key, and its own key, wrapped."""
        person_id, key = secrets.token_hex(16), make_key()
        self._seals[person_id] = Seal(key)
        keys = self.current()
        return person_id, keys.current, _master(keys, keys.current).close(key, "subject", person_id)

    def secret(self, name: str) -> bytes | None:
        """One of the gallery's own keys, where it has one of that name."""
        if name not in self._secrets:
            row = self._connection.execute(sa.select(SECRETS).where(SECRETS.c.name == name)).first()
            if row is None:
                return None
            self._secrets[name] = self._unwrap(row.key_id, row.wrapped, "secret", name)
        return self._secrets[name]

    def make_secret(self, name: str) -> bytes:
        """A new random key of that name."""
        keys, value = self.current(), make_key()
        wrapped = _master(keys, keys.current).close(value, "secret", name)
        self._connection.execute(SECRETS.insert().values(name=name, key_id=keys.current, wrapped=wrapped))
        self._secrets[name] = value
        return value

    def rewrap(self, keys: MasterKeys) -> int:
        """Wrap every key under the current master key; what they seal is not touched.

        Returns:
            How many were under another one.
        """
        self._keys = keys
        seal, changed = _master(keys, keys.current), 0
        for table, column, kind in ((SUBJECTS, SUBJECTS.c.person_id, "subject"), (SECRETS, SECRETS.c.name, "secret")):
            query = sa.select(column.label("name"), table.c.key_id, table.c.wrapped).where(
                table.c.key_id != keys.current
            )
            rows = [
                {
                    "row": row.name,
                    "new_id": keys.current,
                    "new": seal.close(self._unwrap(row.key_id, row.wrapped, kind, row.name), kind, row.name),
                }
                for row in self._connection.execute(query)
            ]
            if rows:
                change = (
                    table.update()
                    .where(column == sa.bindparam("row"))
                    .values(key_id=sa.bindparam("new_id"), wrapped=sa.bindparam("new"))
                )
                self._connection.execute(change, rows)
            changed += len(rows)
        return changed

    def open(self, seal: Seal, sealed: bytes, *place: str) -> bytes:
        """Open a row.

        Raises:
            BadInput: It was altered, or moved here from another place.
        """
        try:
            return seal.open(sealed, *place)
        except Altered as fault:
            raise self.refuse(f"a {place[0]} that was altered or moved ({fault})") from fault

    def refuse(self, found: str) -> BadInput:
        """The error for a gallery that is not what was written."""
        return BadInput(f"gallery {self.location} holds {found}: bring back a backup, or enrol into a new gallery")

    def current(self) -> MasterKeys:
        """The master keys as they are now; the first is made for a gallery that has none.

        Raises:
            BadInput: The gallery is sealed and its keys are gone.
        """
        keys = self._provider.read()
        if keys is None:
            if self._connection.execute(sa.select(SECRETS.c.name).limit(1)).first() is not None:
                raise self._keyless()
            keys = self._provider.add()
        self._keys = keys
        return keys

    def _unwrap(self, key_id: str, wrapped: bytes, *place: str) -> bytes:
        if self._keys is None or key_id not in self._keys.by_id:
            self._keys = self._provider.read()  # a rotation has begun since
        if self._keys is None:
            raise self._keyless()
        return self.open(_master(self._keys, key_id), wrapped, *place)

    def _keyless(self) -> BadInput:
        return BadInput(
            f"gallery {self.location} is sealed and its key is gone ({self._provider!r}): "
            "bring the key file back, or name it with WHODID_KEY_FILE, or the key itself with WHODID_KEY"
        )


def _master(keys: MasterKeys, key_id: str) -> Seal:
    return Seal(keys.find(key_id))


def retire_all_but(provider: KeyProvider, keys: MasterKeys) -> list[str]:
    """Destroy every master key but the current one; gives those that somebody else must destroy."""
    return [key_id for key_id in keys.by_id if key_id != keys.current and not provider.retire(key_id)]
