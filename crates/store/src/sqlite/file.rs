//! The file: whose it is, of which version, and whether it is still there.

use std::{
    fs::{self, File, TryLockError},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{OpenError, StoreError};

/// Says in the file's header whose it is: "Shad".
const APPLICATION_ID: i32 = 0x5368_6164;
/// The schema that this program writes.
pub(super) const VERSION: i32 = 1;
/// The oldest schema's reader that understands what this program writes.
const OLDEST_READER: i32 = 1;
/// How long a lock of another process is waited for.
const BUSY: Duration = Duration::from_secs(1);

/// From each version to the next: expand only, so that the release before can still
/// use the file; contract when nobody does.
const MIGRATIONS: &[&str] = &["
    create table meta (key text primary key, value) without rowid;
    create table room (
        id integer primary key autoincrement,
        name blob not null unique,
        epoch integer not null,
        gen integer not null,
        taken integer not null default 0
    );
    -- place: the room's id and the seq in one number, so that the log is one tree.
    create table entry (
        place integer primary key,
        term integer not null,
        kind integer not null,
        at integer not null,
        author blob,
        author_name blob,
        target blob,
        target_name blob,
        cmid blob,
        digest integer,
        body blob
    );
    create index entry_superseded on entry (target, at) where kind = 2 and target is not null;
    -- Where cmids are, each of two generations a day or more; and of which rooms
    -- not yet all entries are in there.
    create table recent0 (key integer primary key, place integer not null);
    create table recent1 (key integer primary key, place integer not null);
    create table unindexed (room integer primary key, first integer not null);
"];

/// Where a store is. Clones know of each other.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: PathBuf,
    last: Arc<Mutex<Option<Ids>>>,
}

/// Device and inode of a file and of its write-ahead log: tells if others are there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Ids {
    file: (u64, u64),
    wal: Option<(u64, u64)>,
}

/// An open file.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) connection: Connection,
    ids: Ids,
}

impl Place {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, last: Arc::default() }
    }

    /// Takes the file for this process, until the returned file is dropped.
    pub(super) fn lock(&self) -> Result<File, OpenError> {
        let file = File::options().create(true).append(true).open(self.beside("-lock"));
        let file = file.map_err(|error| self.refused(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(self.refused(&"another process has it open")),
            Err(TryLockError::Error(error)) => Err(self.refused(&error)),
        }
    }

    /// Opens the file for writing; makes it, or its schema, if `create`.
    pub(super) fn open(&self, create: bool) -> Result<OpenFile, OpenError> {
        let is_new = self.look(create)?;
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if is_new {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let mut connection = self.connect(flags)?;
        self.prepare(&mut connection, create)?;
        self.opened(connection)
    }

    /// Opens a file that is there, for reading.
    pub(super) fn open_reader(&self) -> Result<OpenFile, OpenError> {
        self.look(false)?;
        // The log beside it has to be written to be read.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = self.connect(flags)?;
        let query_only = connection.pragma_update(None, "query_only", true);
        query_only.map_err(|error| self.failed(&error))?;
        self.opened(connection)
    }

    /// Looks at the file before the engine does, which would mix another file with
    /// the write-ahead log that is there. True if there is none, and one may be made.
    fn look(&self, create: bool) -> Result<bool, OpenError> {
        let ids = match self.ids() {
            Ok(ids) => ids,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => {
                return match fs::metadata(self.beside("-wal")) {
                    Ok(wal) if wal.len() > 0 => {
                        Err(self.refused(&"it is not there, but a write-ahead log of it is"))
                    }
                    _ => Ok(true),
                };
            }
            Err(error) => return Err(self.refused(&error)),
        };
        let last = *self.last.lock().expect("set in one go");
        if last
            .is_some_and(|last| last.file != ids.file && last.wal.is_some() && last.wal == ids.wal)
        {
            let why = "another file is in its place, beside its write-ahead log";
            return Err(self.refused(&why));
        }
        let mut header = Vec::new();
        let file = File::open(&self.path).and_then(|file| file.take(100).read_to_end(&mut header));
        file.map_err(|error| self.refused(&error))?;
        if header.is_empty() && create {
            return Ok(true);
        }
        if !header.starts_with(b"SQLite format 3\0") || header.len() < 100 {
            return Err(self.refused(&"it is not a database"));
        }
        if header[68..72] != APPLICATION_ID.to_be_bytes() {
            return Err(self.refused(&"it is a file of another application"));
        }
        Ok(false)
    }

    fn opened(&self, connection: Connection) -> Result<OpenFile, OpenError> {
        let ids = self.ids().map_err(|error| self.refused(&error))?;
        *self.last.lock().expect("set in one go") = Some(ids);
        Ok(OpenFile { connection, ids })
    }

    fn connect(&self, flags: OpenFlags) -> Result<Connection, OpenError> {
        let connection = Connection::open_with_flags(&self.path, flags);
        let connection = connection.map_err(|error| self.failed(&error))?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.busy_timeout(BUSY).map_err(|error| self.failed(&error))?;
        Ok(connection)
    }

    /// Makes sure that the schema is one that can be used.
    fn prepare(&self, connection: &mut Connection, create: bool) -> Result<(), OpenError> {
        let schema = schema(connection, create).map_err(|error| self.failed(&error))?;
        match schema {
            Schema::Good => Ok(()),
            Schema::Old => {
                Err(self.refused(&"its schema has to be migrated: start a server on it"))
            }
            Schema::New(oldest) => Err(self.refused(&format_args!(
                "its schema is for readers of version {oldest} and later; this one is {VERSION}"
            ))),
        }
    }

    fn ids(&self) -> std::io::Result<Ids> {
        let id = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
        Ok(Ids { file: id(&self.path)?, wal: id(&self.beside("-wal")).ok() })
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        PathBuf::from(path)
    }

    fn refused(&self, why: &dyn std::fmt::Display) -> OpenError {
        OpenError::Refused(format!("cannot use the store {}: {why}", self.path.display()))
    }

    /// What was said at opening: a full disk may get space again, and a lock go away.
    fn failed(&self, error: &rusqlite::Error) -> OpenError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull) => {
                OpenError::Unreachable(format!("{}: {error}", self.path.display()))
            }
            Some(ErrorCode::NotADatabase) => self.refused(&"it is not a database"),
            _ => self.refused(error),
        }
    }
}

impl OpenFile {
    /// Whether the file that is open is the one that is there.
    pub(super) fn is_there(&self, place: &Place) -> bool {
        let there = fs::metadata(&place.path).map(|found| (found.dev(), found.ino()));
        there.is_ok_and(|id| id == self.ids.file)
    }
}

enum Schema {
    Good,
    /// Made by a release before, and this is not the one to change it.
    Old,
    /// For readers of this version and later.
    New(i32),
}

fn schema(connection: &mut Connection, create: bool) -> rusqlite::Result<Schema> {
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < VERSION && !create {
        return Ok(Schema::Old);
    }
    if version < VERSION {
        // Before the write-ahead log, so that the file itself says whose it is.
        migrate(connection)?;
    }
    let oldest = "select value from meta where key = 'oldest_reader'";
    let oldest: i32 = connection.query_row(oldest, [], |row| row.get(0))?;
    if oldest > VERSION {
        return Ok(Schema::New(oldest));
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", 16_384)?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    Ok(Schema::Good)
}

/// Brings the schema to this version; another process may have done it before.
fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "full")?;
    let migration =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i32 = migration.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let from = usize::try_from(version).unwrap_or(usize::MAX).min(MIGRATIONS.len());
    for step in &MIGRATIONS[from..] {
        migration.execute_batch(step)?;
    }
    if from < MIGRATIONS.len() {
        migration.execute(
            "insert into meta (key, value) values ('oldest_reader', ?1)
             on conflict (key) do update set value = max(value, excluded.value)",
            [OLDEST_READER],
        )?;
        migration.pragma_update(None, "application_id", APPLICATION_ID)?;
        migration.pragma_update(None, "user_version", VERSION)?;
    }
    migration.commit()
}

/// What an error in use means for the caller.
pub(super) fn in_use(error: &rusqlite::Error) -> StoreError {
    StoreError::Unreachable(error.to_string())
}

/// What an error of a commit means: if the disk failed, a part of it may be found
/// again after a crash.
pub(super) fn of_commit(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => StoreError::Unknown(error.to_string()),
        _ => in_use(error),
    }
}

/// Whether the connection is to be opened anew before it is used again.
pub(super) fn is_broken(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
        )
    )
}

/// Whether it is the disk's or another process's fault, not that of one call.
pub(super) fn is_common(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    is_broken(error)
        || matches!(
            code,
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
}

/// The folder that a file is to be in, made if it is not there.
pub(super) fn make_folder(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    fs::create_dir_all(folder).map_err(|error| {
        OpenError::Refused(format!("cannot make the folder {}: {error}", folder.display()))
    })
}
