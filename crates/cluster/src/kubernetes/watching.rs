//! Follows the EndpointSlices of one Service.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{instrument::WithSubscriber, subscriber::NoSubscriber};

use super::{
    client::ApiServer,
    hold::Hold,
    merge::{Endpoint, Listed, endpoints, merge},
    pace::Pace,
    state::StateFile,
    trouble::{Trouble, code_of},
};
use crate::{Backoff, Jitter};

/// How long a watch lasts, in seconds: one that is half open is noticed 5 s later.
const WATCH_FOR: u32 = 30;
/// The longest wait before the API server is asked again.
const RETRY_MAX: Duration = Duration::from_secs(3);
/// What neither answers nor fails for so long has got stuck, and is begun anew.
const STUCK_AFTER: Duration = Duration::from_secs(45);
/// How long the first list may take before the last one of the state file counts.
pub(crate) const STATE_AFTER: Duration = Duration::from_secs(5);

/// A failure that is older is not the last one's sister: waits are short again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);

type Happened = watcher::Result<Event<EndpointSlice>>;

/// What a start waits for: none once there is a list.
pub(crate) type Waits = Option<String>;

/// One watch, and the list that it has made.
pub(crate) struct Watching<T> {
    api: ApiServer,
    config: watcher::Config,
    service: String,
    backoff: Backoff,
    /// By name; what came of a list that is not complete yet is beside it.
    slices: HashMap<String, Vec<Endpoint>>,
    relisted: Option<HashMap<String, Vec<Endpoint>>>,
    is_listed: bool,
    pace: Pace,
    hold: Hold<T>,
    state: Option<StateFile>,
    state_at: Option<Instant>,
    trouble: Trouble,
    alive_at: Instant,
    failed_at: Option<Instant>,
    entries: watch::Sender<Arc<[T]>>,
    /// The same, for the state file.
    kept: watch::Sender<Arc<[T]>>,
    waits: watch::Sender<Waits>,
}

impl<T: Listed> Watching<T> {
    pub(crate) fn new(
        api: ApiServer,
        service: &str,
        state: Option<StateFile>,
        jitter: Jitter,
    ) -> Self {
        let config = watcher::Config::default()
            .labels(&format!("kubernetes.io/service-name={service}"))
            .timeout(WATCH_FOR);
        let now = Instant::now();
        Self {
            trouble: Trouble::new(service, &api.namespace),
            api,
            config,
            service: service.to_owned(),
            backoff: Backoff::up_to(RETRY_MAX, jitter),
            slices: HashMap::new(),
            relisted: None,
            is_listed: false,
            pace: Pace::default(),
            hold: Hold::new(),
            state_at: state.is_some().then(|| now + STATE_AFTER),
            state,
            alive_at: now,
            failed_at: None,
            entries: watch::Sender::new(Arc::new([])),
            kept: watch::Sender::new(Arc::new([])),
            waits: watch::Sender::new(Some(format!("waiting for the list of {service}"))),
        }
    }

    pub(crate) fn entries(&self) -> watch::Receiver<Arc<[T]>> {
        self.entries.subscribe()
    }

    pub(crate) fn waits(&self) -> watch::Receiver<Waits> {
        self.waits.subscribe()
    }

    /// Follows the slices until nobody listens any more.
    pub(crate) async fn run(mut self) {
        let listeners = self.entries.clone();
        let kept = self.kept.subscribe();
        let keep = match self.state.clone() {
            Some(state) => state.keep(kept).boxed(),
            None => std::future::pending().boxed(),
        };
        let follow = async {
            loop {
                let slices = watcher::watcher(self.api.slices.clone(), self.config.clone());
                self.follow(slices).await;
                tracing::info!(service = self.service, "the watch was stuck, beginning anew");
            }
        };
        tokio::select! {
            () = listeners.closed() => {}
            () = keep => {}
            () = follow => {}
        }
    }

    /// Follows one stream of events until it is stuck.
    async fn follow(&mut self, events: impl Stream<Item = Happened> + Send) {
        let mut events = pin!(events);
        let mut answered = self.api.status.answered();
        let mut retry_at = None;
        self.alive_at = Instant::now();
        loop {
            let stuck_at = self.alive_at + STUCK_AFTER;
            // What is worth a line in the log is said here, once; the library says it
            // each time.
            let event = events.next().with_subscriber(NoSubscriber::new());
            tokio::select! {
                event = event, if retry_at.is_none() => match event {
                    Some(Ok(event)) => self.take(event),
                    Some(Err(error)) => retry_at = Some(self.fail(&error)),
                    None => return,
                },
                () = due(retry_at) => retry_at = None,
                Ok(()) = answered.changed() => {
                    self.alive_at = Instant::now();
                    self.trouble.end();
                }
                () = due(self.pace.due()) => self.publish(),
                () = due(self.hold.due()) => self.publish(),
                () = due(self.state_at) => self.take_state().await,
                () = sleep_until(stuck_at) => return,
            }
        }
    }

    fn take(&mut self, event: Event<EndpointSlice>) {
        let now = Instant::now();
        self.alive_at = now;
        let keyed = |slice: &EndpointSlice| {
            (slice.metadata.name.clone().unwrap_or_default(), endpoints(slice))
        };
        match event {
            Event::Init => self.relisted = Some(HashMap::new()),
            Event::InitApply(slice) => {
                self.relisted.get_or_insert_default().extend([keyed(&slice)]);
            }
            Event::InitDone => {
                self.slices = self.relisted.take().unwrap_or_default();
                self.state_at = None;
                if self.is_listed {
                    self.pace.note(now);
                } else {
                    self.is_listed = true;
                    self.publish();
                }
            }
            Event::Apply(slice) => {
                self.slices.extend([keyed(&slice)]);
                self.pace.note(now);
            }
            Event::Delete(slice) => {
                self.slices.remove(&keyed(&slice).0);
                self.pace.note(now);
            }
        }
    }

    /// Returns when to go on.
    fn fail(&mut self, error: &watcher::Error) -> Instant {
        let now = Instant::now();
        self.alive_at = now;
        if self.failed_at.is_none_or(|last| now - last > FORGIVEN_AFTER) {
            self.backoff.reset();
        }
        self.failed_at = Some(now);
        self.api.status.note_error(code_of(error));
        let why = self.trouble.note(now, error);
        self.waits.send_if_modified(|waits| {
            let is_waited_for = waits.is_some();
            if is_waited_for {
                *waits = Some(format!("waiting for the list of {}: {why}", self.service));
            }
            is_waited_for
        });
        now + self.backoff.wait()
    }

    fn publish(&mut self) {
        self.pace.clear();
        let (listed, left_out) = merge(self.slices.values().map(Vec::as_slice));
        if left_out > 0 {
            tracing::warn!(service = self.service, left_out, "more peers than can be listed");
        }
        let shown = self.hold.take(Instant::now(), listed);
        self.show(shown);
    }

    fn show(&mut self, shown: Arc<[T]>) {
        let listed = shown.len();
        self.api.status.note_listed(listed);
        let has_changed = self.entries.send_if_modified(|last| {
            let differs = **last != *shown;
            *last = Arc::clone(&shown);
            differs
        });
        let is_first = self.waits.send_replace(None).is_some();
        if has_changed || is_first {
            tracing::info!(service = self.service, listed, "list changed");
            self.kept.send_replace(shown);
        }
    }

    /// The API server has not answered yet: what was listed last will do.
    async fn take_state(&mut self) {
        self.state_at = None;
        let Some(state) = &self.state else { return };
        let file = state.path().display().to_string();
        match state.read().await {
            Ok(last) => {
                let listed = last.len();
                tracing::warn!(file, listed, "no answer of the API server: taking the last list");
                let shown = self.hold.take(Instant::now(), last.to_vec());
                self.show(shown);
            }
            Err(error) => tracing::info!(file, error = %error, "there is no last list to take"),
        }
    }
}

/// Waits until `at`; for ever, if there is nothing to wait for.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
