//! Connections: to whom, with what limits, and what an error on one means.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use deadpool_postgres::{
    Client, ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError,
    RecyclingMethod, Runtime,
};
use tokio::time::{Instant, error::Elapsed};
use tokio_postgres::{
    Config, NoTls, Socket, config::SslMode, error::SqlState, tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::schema;
use crate::{OpenError, StoreError, raw::Damaged};

/// How long a call may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
/// How long the database works on a statement: less, so that its answer is heard.
const LIMITS: &str = "set statement_timeout = 1500; set lock_timeout = 1500; \
                      set idle_in_transaction_session_timeout = 1500";
/// Where the engine can be told: never read a table from end to end. Of tables that are
/// new it knows no sizes, and the plans that it makes then stay while they grow.
const PLANS: &str = "select set_config('enable_seqscan', 'off', false)
                     from pg_settings where name = 'enable_seqscan'";
/// Connections of one process.
const CONNECTIONS: usize = 8;
/// What libpq calls it where the certificate is verified, and what it is called here.
const VERIFIED: [&str; 2] = ["sslmode=verify-full", "sslmode=verify-ca"];
const REQUIRED: &str = "sslmode=require";
/// Before what a new connection says of a store that was restored.
const RESTORED: &str = "restored: ";

/// Where a database is and how to get in.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=require]`. Without an
    /// `sslmode` there is TLS if `ca_file` is given; `verify-ca` and `verify-full` are the
    /// same as `require`.
    pub url: String,
    /// The password, if it is not in the URL.
    pub password: Option<String>,
    /// Who signed the database's certificate (PEM); else whom the system trusts.
    pub ca_file: Option<PathBuf>,
}

impl PostgresOptions {
    pub(super) fn config(&self) -> Result<Config, OpenError> {
        // With TLS the certificate is always verified, with its name: more is not to be had.
        let url = VERIFIED.iter().fold(self.url.clone(), |url, mode| url.replace(mode, REQUIRED));
        let parsed = Config::from_str(&url);
        let mut config =
            parsed.map_err(|error| refused(format!("not a database's URL: {}", chain(&error))))?;
        if let Some(password) = &self.password {
            config.password(password);
        }
        if !url.contains("sslmode=") {
            let wants_tls = self.ca_file.is_some();
            config.ssl_mode(if wants_tls { SslMode::Require } else { SslMode::Disable });
        } else if self.ca_file.is_some() && config.get_ssl_mode() != SslMode::Require {
            let why = "an authority is named, but by its sslmode the URL may do without TLS";
            return Err(refused(why.to_owned()));
        }
        config.application_name("shaddock").connect_timeout(TIMEOUT);
        // A database that was cut off is noticed by the calls' time-outs.
        config.keepalives_idle(Duration::from_secs(10)).tcp_user_timeout(TIMEOUT * 5);
        Ok(config)
    }

    fn tls(&self) -> Result<MakeRustlsConnect, OpenError> {
        use rustls::pki_types::{CertificateDer, pem::PemObject};

        let mut roots = rustls::RootCertStore::empty();
        let cannot = |what: String| refused(format!("cannot verify the database: {what}"));
        let certificates = match &self.ca_file {
            Some(file) => {
                let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
                read.map_err(|error| cannot(format!("{}: {error}", file.display())))?
            }
            None => rustls_native_certs::load_native_certs().certs,
        };
        roots.add_parsable_certificates(certificates);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| cannot(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }

    /// A pool of connections; with `checked`, each is looked at before it is used.
    pub(super) fn pool(&self, checked: bool) -> Result<Pool, OpenError> {
        let config = self.config()?;
        if config.get_ssl_mode() == SslMode::Disable {
            pool(config, NoTls, checked)
        } else {
            pool(config, self.tls()?, checked)
        }
    }
}

fn pool<T>(config: Config, tls: T, checked: bool) -> Result<Pool, OpenError>
where
    T: MakeTlsConnect<Socket> + Clone + Sync + Send + 'static,
    T::Stream: Sync + Send,
    T::TlsConnect: Sync + Send,
    <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
{
    let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let look = Hook::async_fn(move |client: &mut ClientWrapper, _| {
        Box::pin(async move {
            client.batch_execute(LIMITS).await.map_err(HookError::Backend)?;
            client.batch_execute(PLANS).await.map_err(HookError::Backend)?;
            if !checked {
                return Ok(());
            }
            match schema::look(client).await {
                Ok(()) => Ok(()),
                Err(schema::Unfit::Sql(error)) => Err(HookError::Backend(error)),
                Err(schema::Unfit::Restored(why)) => {
                    Err(HookError::message(format!("{RESTORED}{why}")))
                }
                Err(schema::Unfit::Refused(why)) => Err(HookError::message(why)),
            }
        })
    });
    Pool::builder(Manager::from_config(config, tls, fast))
        .max_size(CONNECTIONS)
        .runtime(Runtime::Tokio1)
        .post_create(look)
        .build()
        .map_err(|error| refused(error.to_string()))
}

/// A connection for one attempt of a call.
pub(super) struct Lease {
    pub(super) client: Client,
}

/// What an attempt may end with.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(tokio_postgres::Error),
    Damaged(Damaged),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Damaged> for Fault {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged)
    }
}

/// What a call does, for what a broken connection means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Reads,
    Writes,
}

pub(super) enum Ended {
    /// Not committed, for no fault of ours: to be repeated.
    Again(StoreError),
    Failed(StoreError),
}

impl Lease {
    pub(super) async fn take(pool: &Pool, deadline: Instant) -> Result<Self, StoreError> {
        let late = "no connection in time";
        match tokio::time::timeout_at(deadline, pool.get()).await {
            Ok(Ok(client)) => Ok(Self { client }),
            Ok(Err(error)) => Err(of_pool(&error)),
            Err(_) => Err(StoreError::Unreachable(late.to_owned())),
        }
    }

    /// Says what an attempt's end means, and drops a connection that may still be
    /// busy with it.
    pub(super) fn end<T>(
        self,
        done: Result<Result<T, Fault>, Elapsed>,
        kind: Kind,
    ) -> Result<T, Ended> {
        let error = match done {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(Fault::Damaged(damaged))) => {
                return Err(Ended::Failed(StoreError::Unreachable(damaged.to_string())));
            }
            Ok(Err(Fault::Sql(error))) => Some(error),
            Err(_) => None,
        };
        let text = error.as_ref().map_or("no answer in time".to_owned(), |error| chain(error));
        let code = error.as_ref().and_then(tokio_postgres::Error::code);
        let repeats = [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED];
        match code {
            Some(code) if repeats.contains(&code) => {
                Err(Ended::Again(StoreError::Unreachable(text)))
            }
            // The database says that it did not do it.
            Some(code) if !is_lost(code) => Err(Ended::Failed(StoreError::Unreachable(text))),
            _ => {
                drop(Object::take(self.client));
                Err(Ended::Failed(match kind {
                    Kind::Reads => StoreError::Unreachable(text),
                    Kind::Writes => StoreError::Unknown(text),
                }))
            }
        }
    }
}

/// Whether an error says that the connection ends, so that nobody knows what became
/// of the statement.
fn is_lost(code: &SqlState) -> bool {
    let class = &code.code()[..2];
    class == "08" || class == "57" && code != &SqlState::QUERY_CANCELED || code.code() == "40003"
}

fn of_pool(error: &PoolError) -> StoreError {
    match error {
        PoolError::PostCreateHook(HookError::Message(text)) => match text.strip_prefix(RESTORED) {
            Some(why) => StoreError::Restored(why.to_owned()),
            None => StoreError::Unreachable(text.clone().into_owned()),
        },
        error => StoreError::Unreachable(chain(error)),
    }
}

/// What a failure at opening means: whether waiting may help.
pub(super) fn of_opening(error: &PoolError) -> OpenError {
    let sql = match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => error,
        // Restored: an operator will come while it waits.
        error => return OpenError::Unreachable(chain(error)),
    };
    of_sql(sql)
}

pub(super) fn of_sql(error: &tokio_postgres::Error) -> OpenError {
    let text = chain(error);
    let refuses = error.code().is_some_and(|code| {
        let class = &code.code()[..2];
        // Wrong user or password, no such database, no right to do it, or not the
        // tables that we made.
        matches!(class, "28" | "3D") || matches!(code.code(), "42501" | "42703" | "42P01" | "42809")
    });
    // What the driver finds missing before it dials.
    let incomplete = error.code().is_none() && text.starts_with("invalid configuration");
    if refuses || incomplete { refused(text) } else { OpenError::Unreachable(text) }
}

pub(super) fn refused(why: impl std::fmt::Display) -> OpenError {
    OpenError::Refused(format!("cannot use the store: {why}"))
}

/// An error and its sources, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    let text = sources.fold(error.to_string(), |text, source| format!("{text}: {source}"));
    text.replace('\n', " ")
}
