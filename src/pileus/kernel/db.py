"""The database: SQLite, PostgreSQL or MariaDB behind one small interface.

A service opens a transaction and passes it down; a store executes statements in it. Rows are changed by
compare-and-swap, never blindly. What must happen only once the transaction is durable (a nudge, a cache
invalidation) is registered with `Tx.after_commit`.

SQLite runs in WAL mode. Its own lock wait polls with growing sleeps (up to 100 ms), which under load costs far more
than the write itself; so writers of all processes queue on an advisory file lock, where the kernel wakes the
next one at once.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import make_url
from sqlalchemy.types import TypeDecorator

from pileus.kernel.config import setting
from pileus.kernel.errors import Unavailable

T = TypeVar("T")
Row = sa.Row[Any]

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Timestamp = sa.BigInteger
"""Microseconds since the epoch, UTC (see `kernel.clock`)."""


def Uuid() -> sa.String:  # noqa: N802 - named like the column types beside it
    """A UUID with or without dashes, as text. Compared by bytes on every database."""
    exact = mysql.VARCHAR(36, charset="ascii", collation="ascii_nopad_bin")
    return sa.String(36).with_variant(exact, "mysql", "mariadb")


def Name(length: int = 255) -> sa.String:  # noqa: N802
    """Text that compares exactly on every database (MariaDB's default collation ignores case and trailing spaces)."""
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb"
    )


class Json(TypeDecorator[Any]):
    """A JSON document in a text column, decoded into `shape` (any type that msgspec knows)."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, shape: Any = Any) -> None:
        super().__init__()
        self.shape = shape
        self._decoder = msgspec.json.Decoder(shape)

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        large = mysql.MEDIUMTEXT() if dialect.name in ("mysql", "mariadb") else sa.Text()
        return dialect.type_descriptor(large)

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return None if value is None else self._decoder.decode(value)


@dataclass(frozen=True)
class DatabaseSettings:
    """`[database]`: where the truth lives."""

    url: str = setting(
        "",
        "SQLAlchemy URL: sqlite:///FILE, postgresql+psycopg://USER:PASSWORD@HOST/NAME or "
        "mysql+pymysql://USER:PASSWORD@HOST/NAME. Empty: a SQLite file in the state directory",
        secret=True,
    )
    pool_size: int = setting(16, "connections that each process may hold open (PostgreSQL, MariaDB)", minimum=1)
    pool_timeout: float = setting(10.0, "how long a request waits for a free connection", unit="seconds")
    sqlite_synchronous: str = setting(
        "NORMAL",
        "SQLite's durability: NORMAL survives the death of any process, FULL the loss of power too",
        choices=("NORMAL", "FULL"),
    )


class Tx:
    """One transaction. Stores execute in it; the service that opened it decides what is inside."""

    __slots__ = ("_after_commit", "connection", "dialect")

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.dialect = connection.dialect.name
        self._after_commit: list[Callable[[], None]] = []

    def execute(
        self,
        statement: sa.Executable,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> sa.CursorResult[Any]:
        """Execute one statement, or one for each of several parameter sets."""
        return self.connection.execute(statement, parameters)

    def one(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> Row | None:
        """The first row, or None."""
        return self.connection.execute(statement, parameters).first()

    def all(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row]:
        """All rows."""
        return self.connection.execute(statement, parameters).all()

    def scalar(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of the first row, or None."""
        return self.connection.execute(statement, parameters).scalar()

    def changed(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> int:
        """Execute an UPDATE or DELETE and answer how many rows it matched: the judge of a compare-and-swap."""
        return self.execute(statement, parameters).rowcount

    def after_commit(self, action: Callable[[], None]) -> None:
        """Run `action` once this transaction is durable; never if it is rolled back."""
        self._after_commit.append(action)

    def _committed(self) -> None:
        for action in self._after_commit:
            action()


class Database:
    """Connections and transactions. Make it after forking: connections do not survive a fork."""

    def __init__(self, settings: DatabaseSettings) -> None:
        url = make_url(settings.url)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._gate: _WriterGate | None = None
        self._idle: list[sa.Connection] = []  # SQLite's, kept checked out of the pool
        if self.is_sqlite:
            if not url.database:
                raise ValueError("an in-memory SQLite database cannot be shared by threads; give a file")
            self._gate = _WriterGate(Path(f"{url.database}.writer"))
            self.engine = sa.create_engine(
                url,
                connect_args={"check_same_thread": False, "timeout": 30, "cached_statements": 512},
                pool_size=64,
                max_overflow=-1,
                pool_reset_on_return=None,
            )
            sa.event.listen(self.engine, "connect", _configure_sqlite(settings.sqlite_synchronous))
        else:
            self.engine = sa.create_engine(
                url,
                pool_size=settings.pool_size,
                max_overflow=0,
                pool_timeout=settings.pool_timeout,
                pool_pre_ping=True,
                pool_recycle=1800,
                isolation_level="READ COMMITTED",
            )

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A transaction for reading. On SQLite all its reads see one snapshot."""
        if self._gate is None:
            with self.engine.connect() as connection:
                yield Tx(connection)
            return
        connection = self._checked_out()
        driver: Any = connection.connection.dbapi_connection
        driver.execute("BEGIN")
        try:
            yield Tx(connection)
        finally:
            connection.rollback()
            driver.rollback()  # nothing was read: then SQLAlchemy knows of no transaction
            self._idle.append(connection)

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """A transaction for reading and writing: committed at the end of the block, rolled back on any error."""
        if self._gate is None:
            with self.engine.connect() as connection:
                tx = Tx(connection)
                with connection.begin():
                    yield tx
        else:
            with self._gate.held():
                connection = self._checked_out()
                tx = Tx(connection)
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                try:
                    yield tx
                    connection.commit()
                except BaseException:
                    connection.rollback()
                    self._idle.append(connection)
                    raise
                self._idle.append(connection)
        tx._committed()

    def _checked_out(self) -> sa.Connection:
        """A connection to SQLite: the one used last, whose caches are warm. One whose transaction failed to end is not
        given back, and so closed."""
        try:
            return self._idle.pop()
        except IndexError:
            return self.engine.connect()

    def transact(self, work: Callable[[Tx], T], attempts: int = 5) -> T:
        """Run `work` in a write transaction, again if the database broke it off (deadlock, serialisation).

        `work` must have no effects outside the transaction. Unavailable after `attempts` tries.
        """
        for _ in range(attempts):
            try:
                with self.write() as tx:
                    return work(tx)
            except sa.exc.DBAPIError as err:
                if not is_retryable(err):
                    raise
                last = err
        raise Unavailable("The database is too busy. Try again.") from last

    def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().close()
        self.engine.dispose()


_RETRYABLE_SQLSTATES = frozenset({"40001", "40P01", "55P03"})  # PostgreSQL: serialisation, deadlock, lock timeout
_UNAVAILABLE_SQLSTATES = ("08", "53", "57P")  # PostgreSQL: connection, resources, shutting down or starting
_UNAVAILABLE_MYSQL = frozenset({1021, 1040, 1053, 2002, 2003, 2006, 2013})  # full, busy, shut down, unreachable
_MYSQL_MIXED_COLLATIONS = 1267  # an identifier, which is ASCII, compared with a text that is not
_UNAVAILABLE_SQLITE = frozenset({"unable to open database file", "database or disk is full", "disk I/O error"})
_RETRYABLE_MYSQL = frozenset({1205, 1213, 1020})  # lock wait timeout, deadlock, record changed since last read


def is_retryable(err: sa.exc.DBAPIError) -> bool:
    """Whether the database rolled a transaction back for no fault of its own, so that it may be repeated."""
    cause = err.orig
    if getattr(cause, "sqlstate", None) in _RETRYABLE_SQLSTATES:
        return True
    arguments = getattr(cause, "args", ())
    if arguments and arguments[0] in _RETRYABLE_MYSQL:
        return True
    return "database is locked" in str(cause)


def is_unavailable(err: sa.exc.DBAPIError) -> bool:
    """Whether the database could not be reached, broke the connection, or has no room left."""
    cause = err.orig
    if err.connection_invalidated:
        return True
    if not isinstance(err, sa.exc.OperationalError):
        return False
    sqlstate: str = getattr(cause, "sqlstate", None) or ""
    arguments: tuple[object, ...] = getattr(cause, "args", ())
    if hasattr(cause, "sqlstate"):  # psycopg: none if there was no server to give one
        return not sqlstate or sqlstate.startswith(_UNAVAILABLE_SQLSTATES)
    return bool(arguments) and (arguments[0] in _UNAVAILABLE_MYSQL or str(arguments[0]) in _UNAVAILABLE_SQLITE)


def is_unstorable(err: sa.exc.DBAPIError) -> bool:
    """Whether a value that the database was given could never be in the column that it was for."""
    arguments: tuple[object, ...] = getattr(err.orig, "args", ())
    return isinstance(err, sa.exc.DataError) or (bool(arguments) and arguments[0] == _MYSQL_MIXED_COLLATIONS)


def is_duplicate(err: sa.exc.IntegrityError) -> bool:
    """Whether a unique constraint refused the row (and not a foreign key or a missing value)."""
    cause = err.orig
    if getattr(cause, "sqlstate", None) == "23505":
        return True
    arguments: tuple[object, ...] = getattr(cause, "args", ())
    return bool(arguments) and (arguments[0] == 1062 or "UNIQUE constraint failed" in str(arguments[0]))


def _configure_sqlite(synchronous: str) -> Callable[[Any, Any], None]:
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin and end where we say, not where the module guesses
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "foreign_keys=ON",
            "busy_timeout=30000",
            "cache_size=-8000",
            "mmap_size=268435456",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return configure


class _WriterGate:
    """Queues SQLite's writers: threads on a lock, processes on an advisory file lock (released by any death)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._fd: int | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            if self._fd is None:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
