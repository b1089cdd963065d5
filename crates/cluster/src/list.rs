//! Peers as an operator lists them: in a flag, or in a file that may change.

use std::{fs, io::Read, path::PathBuf, str::FromStr, sync::Arc};

use model::{ConnectorId, InvalidId};

use crate::Shard;

/// Most entries that a list may have; a longer one is refused whole.
pub const ENTRIES_MAX: usize = 1000;

/// Most bytes that a list's file may have.
const FILE_LEN_MAX: u64 = 1 << 20;

/// One connector, as it is listed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Connector {
    /// Its name, if the list tells; it announces its name itself.
    pub id: Option<ConnectorId>,
    /// Where its gRPC services listen, `host:port`.
    pub addr: String,
}

/// What a list is made of.
pub trait Entry: Clone + std::fmt::Debug + Eq + Send + Sync + 'static {
    /// Parses one entry without white space around it.
    ///
    /// # Errors
    ///
    /// [`EntryError`] says what is wrong with it.
    fn parse(raw: &str) -> Result<Self, EntryError>;

    /// Whether two entries of one list are the same peer.
    fn clashes_with(&self, other: &Self) -> bool;
}

impl Entry for Shard {
    fn parse(raw: &str) -> Result<Self, EntryError> {
        let (id, addr) = raw.split_once('=').ok_or(EntryError::Form("id=host:port"))?;
        let id = id.trim().parse().map_err(EntryError::Id)?;
        Ok(Self { id, addr: parse_addr(addr.trim(), "id=host:port")? })
    }

    fn clashes_with(&self, other: &Self) -> bool {
        self.id == other.id || self.addr == other.addr
    }
}

impl Entry for Connector {
    fn parse(raw: &str) -> Result<Self, EntryError> {
        let (id, addr) = match raw.split_once('=') {
            Some((id, addr)) => (Some(id.trim().parse().map_err(EntryError::Id)?), addr.trim()),
            None => (None, raw),
        };
        Ok(Self { id, addr: parse_addr(addr, "host:port or id=host:port")? })
    }

    fn clashes_with(&self, other: &Self) -> bool {
        self.addr == other.addr || (self.id.is_some() && self.id == other.id)
    }
}

/// Checks that `raw` is `host:port` as it may stand in a URI: a name, an IPv4
/// address, or an IPv6 address in brackets; the port is not 0.
fn parse_addr(raw: &str, form: &'static str) -> Result<String, EntryError> {
    let (host, port) = raw.rsplit_once(':').ok_or(EntryError::Form(form))?;
    // `parse` alone would take "+80".
    let port_is_valid =
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0);
    if is_host(host) && port_is_valid { Ok(raw.to_owned()) } else { Err(EntryError::Form(form)) }
}

/// Whether `raw` may stand for a host in a URL: a name of at most 253 bytes, an IPv4
/// address, or an IPv6 address in brackets.
#[must_use]
pub fn is_host(raw: &str) -> bool {
    match raw.strip_prefix('[').and_then(|raw| raw.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let may_stand = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            !raw.is_empty() && raw.len() <= 253 && raw.bytes().all(may_stand)
        }
    }
}

/// Why one entry is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryError {
    /// It is not written as it should be.
    #[error("must be {0}")]
    Form(&'static str),
    /// Its name is not one.
    #[error("the id {0}")]
    Id(InvalidId),
    /// An earlier entry has the same id or the same address.
    #[error("has the id or the address of an earlier entry")]
    Twice,
}

/// Why a list is refused. One line that names the file and the line.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ListError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// One entry is wrong.
    #[error("{place}: {entry:?} {problem}")]
    Entry {
        /// `FILE:LINE`, or `entry N` of a flag.
        place: String,
        /// The entry as written.
        entry: String,
        /// What is wrong with it.
        problem: EntryError,
    },
    /// Nobody is listed: more likely a file that is being written than a wish.
    #[error("{0} lists nobody")]
    Empty(String),
    /// More than [`ENTRIES_MAX`] entries.
    #[error("{0} has more than {ENTRIES_MAX} entries")]
    TooLong(String),
}

/// A list of peers: `entry,entry,…`, or `@FILE` with one entry a line and
/// comments after `#`.
///
/// Parsing an `@FILE` reads it, so that a wrong one is found before the process
/// starts. [`List::watch`] then follows its content; write it by renaming, or half
/// a file may be read.
///
/// # Examples
///
/// ```
/// use cluster::{List, Shard};
/// let list: List<Shard> = "chat-0=127.0.0.1:6050, chat-1=127.0.0.1:6051".parse()?;
///
/// assert_eq!(list.entries()[1].addr, "127.0.0.1:6051");
/// assert!("127.0.0.1:6050".parse::<List<Shard>>().is_err()); // a shard has an id
/// # Ok::<(), cluster::ListError>(())
/// ```
#[derive(Clone, Debug)]
pub struct List<T> {
    pub(crate) entries: Arc<[T]>,
    pub(crate) file: Option<File>,
}

/// Where a list came from, and what was read there.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    /// The content, or why there was none.
    pub(crate) content: Result<String, String>,
}

impl<T> List<T> {
    /// A list that never changes and may be empty: for processes that embed
    /// others, and for tests.
    #[must_use]
    pub fn fixed(entries: impl IntoIterator<Item = T>) -> Self {
        Self { entries: entries.into_iter().collect(), file: None }
    }

    /// The entries as parsed, in their order.
    #[must_use]
    pub fn entries(&self) -> &[T] {
        &self.entries
    }
}

impl<T: Entry> FromStr for List<T> {
    type Err = ListError;

    fn from_str(raw: &str) -> Result<Self, ListError> {
        match raw.strip_prefix('@') {
            Some(path) => {
                let file = File::read(PathBuf::from(path));
                Ok(Self { entries: file.parse()?, file: Some(file) })
            }
            None => {
                let entries = raw.split(',').map(str::trim).enumerate();
                let entries = entries.map(|(i, raw)| (format!("entry {}", i + 1), raw));
                Ok(Self { entries: collect("the list", entries)?, file: None })
            }
        }
    }
}

impl File {
    /// Reads the file; what goes wrong is kept as its content.
    pub(crate) fn read(path: PathBuf) -> Self {
        let read = || {
            let mut text = String::new();
            let file = fs::File::open(&path).map_err(|error| error.to_string())?;
            let read = file.take(FILE_LEN_MAX + 1).read_to_string(&mut text);
            read.map_err(|error| error.to_string())?;
            let fits = text.len() as u64 <= FILE_LEN_MAX;
            if fits { Ok(text) } else { Err(format!("it has more than {FILE_LEN_MAX} bytes")) }
        };
        let content = read();
        Self { path, content }
    }

    pub(crate) fn parse<T: Entry>(&self) -> Result<Arc<[T]>, ListError> {
        let text = self.content.as_ref().map_err(|error| ListError::Unreadable {
            path: self.path.clone(),
            error: error.clone(),
        })?;
        let name = self.path.display();
        let lines = text.lines().enumerate().filter_map(|(i, line)| {
            let entry = line.split('#').next().unwrap_or_default().trim();
            (!entry.is_empty()).then(|| (format!("{name}:{}", i + 1), entry))
        });
        collect(&name.to_string(), lines)
    }
}

fn collect<'a, T: Entry>(
    name: &str,
    raw: impl Iterator<Item = (String, &'a str)>,
) -> Result<Arc<[T]>, ListError> {
    let mut entries: Vec<T> = Vec::new();
    for (place, raw) in raw {
        if entries.len() == ENTRIES_MAX {
            return Err(ListError::TooLong(name.to_owned()));
        }
        let parsed = T::parse(raw).and_then(|entry| {
            let clash = entries.iter().any(|earlier| entry.clashes_with(earlier));
            if clash { Err(EntryError::Twice) } else { Ok(entry) }
        });
        match parsed {
            Ok(entry) => entries.push(entry),
            Err(problem) => {
                return Err(ListError::Entry { place, entry: raw.to_owned(), problem });
            }
        }
    }
    if entries.is_empty() { Err(ListError::Empty(name.to_owned())) } else { Ok(entries.into()) }
}

#[cfg(test)]
mod tests;
