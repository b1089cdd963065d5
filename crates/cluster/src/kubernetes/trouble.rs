//! What is said of an API server that does not answer as it should: once, and not
//! with each attempt.

use std::{error::Error, time::Duration};

use kube::runtime::watcher;
use tokio::time::Instant;

/// How often a missing permission is logged.
const FORBIDDEN_EVERY: Duration = Duration::from_secs(60);

const FORBIDDEN: u16 = 403;
/// The past was forgotten: usual, and answered by a new list.
const GONE: u16 = 410;

#[derive(Debug)]
pub(crate) struct Trouble {
    service: String,
    namespace: String,
    is_known: bool,
    forbidden_at: Option<Instant>,
}

impl Trouble {
    pub(crate) fn new(service: &str, namespace: &str) -> Self {
        let (service, namespace) = (service.to_owned(), namespace.to_owned());
        Self { service, namespace, is_known: false, forbidden_at: None }
    }

    /// Logs a failure if it is news, and returns it in words.
    pub(crate) fn note(&mut self, now: Instant, error: &watcher::Error) -> String {
        let why = chain(error);
        let service = &self.service;
        match code_of(error) {
            FORBIDDEN => {
                let rule = format!(
                    "a Role that allows get, list and watch of endpointslices in apiGroup \
                     discovery.k8s.io, namespace {}, is not bound to {}",
                    self.namespace,
                    who(&why).unwrap_or("this pod's service account"),
                );
                if self.forbidden_at.is_none_or(|last| now - last >= FORBIDDEN_EVERY) {
                    self.forbidden_at = Some(now);
                    tracing::warn!(service, rule, "not allowed to read where the peers are");
                }
                self.is_known = true;
                return rule;
            }
            GONE => tracing::debug!(service, "the past is forgotten, listing anew"),
            _ if self.is_known => tracing::debug!(service, error = why, "still no list"),
            _ => {
                self.is_known = true;
                tracing::warn!(
                    service,
                    error = why,
                    "the API server does not answer: the list stays as it is"
                );
            }
        }
        why
    }

    /// The API server has answered.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.is_known) {
            tracing::info!(service = self.service, "the API server answers again");
        }
    }
}

/// The HTTP status of a failure; 0 if there was no answer.
pub(crate) fn code_of(error: &watcher::Error) -> u16 {
    match error {
        watcher::Error::WatchError(status) => status.code,
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code,
        _ => 0,
    }
}

/// Whom the API server has refused, as it says: `User "…" cannot …`.
fn who(why: &str) -> Option<&str> {
    let (_, rest) = why.split_once("User \"")?;
    rest.split_once('"').map(|(who, _)| who)
}

/// An error and its sources, none twice.
fn chain(error: &watcher::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| (*error).source());
    sources.map(ToString::to_string).fold(error.to_string(), |text, source| {
        if text.contains(&source) { text } else { format!("{text}: {source}") }
    })
}
