//! A Kubernetes API server that knows EndpointSlices, and nothing else: it lists and
//! watches them, and fails in every way that the real one does. For tests.
//!
//! ```text
//! put, remove, bookmark, compact ──▶ FakeApi ──▶ answer(request): list, watch, 403, 410, …
//! fail, mute, freeze_watches ─────▶    │
//!                                      └──▶ serve(addr): the same over TCP, for processes
//! ```
//!
//! Who is to see something else than others gets a [`FakeApi`] of its own.
//!
//! # Invariants
//!
//! * Nothing here looks at who asks: every request is allowed, unless all are refused.
//! * Without [`FakeApi::serve`] no socket is opened, so that time may be paused.

mod answer;
mod pods;
mod serve;
mod watching;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};
use tokio::sync::watch;

pub use answer::Body;
pub use pods::{Pod, slice};
pub use serve::Served;

/// Events that can be asked for once more; who asks for older ones is told 410.
const PAST_MAX: usize = 1000;

/// The server. Clones share.
#[derive(Clone, Debug, Default)]
pub struct FakeApi(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Told whenever the state has changed.
    changed: watch::Sender<u64>,
    seen: watch::Sender<Seen>,
}

/// What was asked so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// Lists that were answered.
    pub lists: u64,
    /// Watches that were begun.
    pub watches: u64,
    /// Requests that were refused, or are never answered.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    /// What was before this version is not known any more.
    oldest: u64,
    /// By namespace and name.
    slices: BTreeMap<(String, String), Value>,
    past: VecDeque<Event>,
    fails: Option<u16>,
    is_mute: bool,
    lists_stall: bool,
    /// Watches that began before the one of this number say nothing any more.
    frozen: u64,
}

#[derive(Clone, Debug)]
struct Event {
    version: u64,
    kind: &'static str,
    object: Value,
}

impl FakeApi {
    /// A server without slices.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("the fake's state")
    }

    /// Adds a slice, or puts it in another's place.
    ///
    /// # Panics
    ///
    /// It has no namespace or no name.
    pub fn put(&self, slice: Value) {
        let key = key_of(&slice);
        self.change(|state| {
            let kind = if state.slices.contains_key(&key) { "MODIFIED" } else { "ADDED" };
            let slice = state.happened(kind, slice);
            state.slices.insert(key, slice);
        });
    }

    /// Removes a slice; nothing happens if there is none.
    pub fn remove(&self, namespace: &str, name: &str) {
        self.change(|state| {
            let removed = state.slices.remove(&(namespace.to_owned(), name.to_owned()));
            if let Some(slice) = removed {
                state.happened("DELETED", slice);
            }
        });
    }

    /// Tells all watches how far they are.
    pub fn bookmark(&self) {
        self.change(|state| {
            state.happened("BOOKMARK", json!({ "metadata": {} }));
        });
    }

    /// Forgets the past: watches that run are told 410, and so is who asks for it.
    pub fn compact(&self) {
        self.change(|state| {
            state.version += 1;
            state.oldest = state.version;
            state.past.clear();
        });
    }

    /// Answers every request with this status from now on, or again as it should be.
    /// Watches that run go on.
    pub fn fail(&self, status: Option<u16>) {
        self.change(|state| state.fails = status);
    }

    /// Takes requests, and never answers them, from now on; or does again.
    pub fn mute(&self, is_mute: bool) {
        self.change(|state| state.is_mute = is_mute);
    }

    /// Begins to answer who asks for a list, and never goes on, from now on; or does again.
    pub fn stall_lists(&self, lists_stall: bool) {
        self.change(|state| state.lists_stall = lists_stall);
    }

    /// The watches that run now say nothing more, and do not end: half open.
    pub fn freeze_watches(&self) {
        let begun = self.0.seen.borrow().watches;
        self.change(|state| state.frozen = begun);
    }

    /// What was asked so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        *self.0.seen.borrow()
    }

    /// Waits until as much was asked as is `wanted`.
    ///
    /// # Panics
    ///
    /// Never: the sender lives as long as this value.
    pub async fn until(&self, wanted: impl FnMut(&Seen) -> bool) -> Seen {
        *self.0.seen.subscribe().wait_for(wanted).await.expect("the sender is held")
    }

    /// A kubeconfig for those who find the server at `addr`.
    #[must_use]
    pub fn kubeconfig(addr: std::net::SocketAddr, namespace: &str) -> String {
        let named = |what: Value| json!([{ "name": "fake", "cluster": what }]);
        let context = json!({ "cluster": "fake", "user": "fake", "namespace": namespace });
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": named(json!({ "server": format!("http://{addr}") })),
            "users": [{ "name": "fake", "user": {} }],
            "contexts": [{ "name": "fake", "context": context }],
            "current-context": "fake",
        })
        .to_string()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.changed.send_modify(|changes| *changes += 1);
    }

    fn count(&self, count: impl FnOnce(&mut Seen)) {
        self.0.seen.send_modify(count);
    }
}

impl State {
    /// Takes down what has happened to an object, and returns it with its version.
    fn happened(&mut self, kind: &'static str, mut object: Value) -> Value {
        self.version += 1;
        let fixed = [("apiVersion", "discovery.k8s.io/v1"), ("kind", "EndpointSlice")];
        for (field, value) in fixed {
            object[field] = value.into();
        }
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.past.push_back(Event { version: self.version, kind, object: object.clone() });
        if self.past.len() > PAST_MAX {
            self.oldest = self.past.pop_front().map_or(self.oldest, |event| event.version);
        }
        object
    }
}

fn key_of(slice: &Value) -> (String, String) {
    let part = |field: &str| {
        let part = slice["metadata"][field].as_str();
        part.unwrap_or_else(|| panic!("a slice has metadata.{field}")).to_owned()
    };
    (part("namespace"), part("name"))
}
