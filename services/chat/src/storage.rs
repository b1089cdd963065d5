//! Which store, how it is opened, and what operators may ask of it.

use std::{fmt, io, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use chassis::{App, StartError, Stopped, World};
use model::RoomId;
use store::{
    Keeper, Memory, MemoryLimits, OpenError, Postgres, PostgresOptions, Purpose, Retention, Sqlite,
    tools,
};

/// How often a store that cannot be reached is tried at the start.
const RETRY: Duration = Duration::from_secs(1);

/// Where messages are kept, and for how long.
#[derive(clap::Args, Clone, Debug)]
pub struct StoreOptions {
    /// Where messages are kept: memory, sqlite:FILE, or
    /// postgres://USER@HOST/DATABASE, which all shards share
    #[arg(
        long,
        env = "SHADDOCK_STORE",
        hide_env_values = true,
        value_name = "STORE",
        default_value = "memory",
        global = true
    )]
    pub store: StoreAt,

    /// Rest of what the store needs.
    #[command(flatten)]
    pub more: MoreStoreOptions,
}

/// What is the same whatever the store's default.
#[derive(clap::Args, Clone, Debug)]
pub struct MoreStoreOptions {
    /// A file with the database's password, if that is not in --store
    #[arg(long, env = "SHADDOCK_STORE_PASSWORD_FILE", value_name = "FILE", global = true)]
    pub store_password_file: Option<PathBuf>,

    /// Who signed the database's certificate (PEM), which then has to have one; else, where
    /// --store has sslmode=require, those whom the system trusts
    #[arg(long, env = "SHADDOCK_STORE_CA", value_name = "FILE", global = true)]
    pub store_ca: Option<PathBuf>,

    /// How long messages are kept
    #[arg(long, env = "SHADDOCK_RETENTION_AGE", value_name = "TIME", default_value = "30d", value_parser = humantime::parse_duration)]
    pub retention_age: Duration,

    /// Newest entries of each room that are kept
    #[arg(
        long,
        env = "SHADDOCK_RETENTION_ENTRIES",
        value_name = "COUNT",
        default_value = "100000"
    )]
    pub retention_entries: u64,
}

/// Where messages are kept. Shown without a password.
#[derive(Clone, Eq, PartialEq)]
pub enum StoreAt {
    /// In the process.
    Memory,
    /// In a file.
    Sqlite(PathBuf),
    /// In a database, by its URL.
    Postgres(String),
}

impl FromStr for StoreAt {
    type Err = String;

    fn from_str(raw: &str) -> Result<Self, String> {
        match raw.split_once(':') {
            None if raw == "memory" => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(raw.to_owned())),
            _ => Err("must be memory, sqlite:FILE or postgres://USER@HOST/DATABASE".to_owned()),
        }
    }
}

impl fmt::Display for StoreAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                // A password may be a parameter, too.
                write!(f, "{scheme}://{}", host.split('?').next().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for StoreAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StoreOptions {
    pub(crate) fn retention(&self) -> Retention {
        Retention { age: self.more.retention_age, entries: self.more.retention_entries }
    }

    /// Opens the store; waits for one that cannot be reached.
    ///
    /// # Errors
    ///
    /// [`StartError`] for one that cannot be used; [`Stopped`].
    pub(crate) async fn open(
        &self,
        memory: MemoryLimits,
        app: &App,
    ) -> anyhow::Result<Arc<dyn Keeper>> {
        let (shutdown, clock) = (app.shutdown(), app.world().clock);
        loop {
            match self.try_open(Purpose::Serve, memory, app.world()).await {
                Ok(store) => {
                    tracing::debug!(store = %self.store, "store opened");
                    return Ok(store);
                }
                Err(OpenError::Refused(why)) => return Err(StartError(why).into()),
                Err(OpenError::Unreachable(why)) => {
                    tracing::warn!(store = %self.store, error = why, "waiting for the store");
                    app.waits_for(&format!("waiting for the store {}: {why}", self.store));
                }
            }
            if shutdown.run_until_cancelled(clock.sleep(RETRY)).await.is_none() {
                return Err(Stopped.into());
            }
        }
    }

    async fn try_open(
        &self,
        purpose: Purpose,
        memory: MemoryLimits,
        world: &World,
    ) -> Result<Arc<dyn Keeper>, OpenError> {
        let (clock, rng) = (world.clock, world.rng.clone());
        let (unix_ms, random) = (move || clock.unix_ms(), move || rng.u64());
        match &self.store {
            StoreAt::Memory => Ok(Arc::new(Memory::new(memory, unix_ms, random))),
            StoreAt::Sqlite(path) => Ok(Arc::new(Sqlite::open(path, purpose, unix_ms, random)?)),
            StoreAt::Postgres(url) => {
                let options = PostgresOptions {
                    url: url.clone(),
                    password: self.password()?,
                    ca_file: self.more.store_ca.clone(),
                };
                Ok(Arc::new(Postgres::open(&options, purpose, random).await?))
            }
        }
    }

    fn password(&self) -> Result<Option<String>, OpenError> {
        let Some(file) = &self.more.store_password_file else { return Ok(None) };
        let read = std::fs::read_to_string(file).map_err(|error| {
            OpenError::Refused(format!("--store-password-file {}: {error}", file.display()))
        })?;
        Ok(Some(read.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// What can be done beside serving.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Look after the store that --store names; it may be in use
    #[command(subcommand)]
    Store(StoreCommand),
}

/// What operators do to a store.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum StoreCommand {
    /// Look at every entry, and say what is wrong; exit code 1 if something is
    Check,
    /// Write a room's log to standard output, as lines of JSON
    Export {
        /// The room
        #[arg(value_parser = parse_room)]
        room: RoomId,
    },
    /// After a restore from a backup, or the promotion of a replica that lacked
    /// something: give every room a new epoch, so that clients know
    NewEpoch {
        /// Only these rooms
        #[arg(value_parser = parse_room)]
        rooms: Vec<RoomId>,
    },
}

fn parse_room(raw: &str) -> Result<RoomId, String> {
    RoomId::parse(raw).map_err(|error| error.to_string())
}

impl StoreCommand {
    /// Does it; writes what there is to know to standard output.
    ///
    /// # Errors
    ///
    /// [`StartError`] for a store that cannot be opened, or what went wrong.
    pub async fn run(&self, options: &StoreOptions, world: World) -> anyhow::Result<()> {
        if options.store == StoreAt::Memory {
            let why = "--store memory is gone with its process: name a file or a database";
            return Err(StartError(why.to_owned()).into());
        }
        let memory = MemoryLimits { entries_max: 1 };
        let store = options.try_open(Purpose::Inspect, memory, &world).await;
        let store = store.map_err(|error| StartError(error.to_string()))?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        match self {
            Self::Check => {
                let checked = tools::check(&*store, world.clock.unix_ms()).await?;
                for complaint in &checked.complaints {
                    say(&mut out, complaint)?;
                }
                say(&mut out, &format!("{} rooms, {} entries", checked.rooms, checked.entries))?;
                let wrong = checked.complaints.len();
                anyhow::ensure!(wrong == 0, "{wrong} things are wrong");
            }
            Self::Export { room } => tools::export(&*store, room, &mut out).await?,
            Self::NewEpoch { rooms } => {
                let count = tools::new_epoch(&*store, rooms).await?;
                say(&mut out, &format!("{count} rooms have a new epoch"))?;
            }
        }
        Ok(())
    }
}

fn say(out: &mut impl io::Write, line: &str) -> io::Result<()> {
    writeln!(out, "{line}").and_then(|()| out.flush())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, shown: Option<&str>) {
        let parsed = raw.parse::<StoreAt>().ok();
        assert_eq!(parsed.as_ref().map(ToString::to_string).as_deref(), shown, "{raw}");
    }

    #[test]
    fn a_store_is_shown_without_its_password() {
        check("memory", Some("memory"));
        check("sqlite:a/b.db", Some("sqlite:a/b.db"));
        check("postgres://u:p@h:5/d?password=x", Some("postgres://h:5/d"));
        check("postgres://u:p@q@h/d", Some("postgres://h/d"));
        for wrong in ["", "sqlite:", "sqlite", "mysql://h/d", "/a/b.db"] {
            check(wrong, None);
        }
    }
}
