//! A watch that runs.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    FakeApi,
    answer::{Asked, Body, failure},
};

pub(crate) struct Watching {
    api: FakeApi,
    asked: Asked,
    number: u64,
    changed: watch::Receiver<u64>,
    ends_at: Instant,
    is_over: bool,
}

/// What there is to be said.
enum Next {
    Line(Value),
    Gone(Value),
    Nothing,
    Frozen,
}

impl Watching {
    pub(crate) fn new(api: FakeApi, asked: Asked, number: u64) -> Self {
        let changed = api.0.changed.subscribe();
        let ends_at = Instant::now() + Duration::from_secs(asked.seconds);
        Self { api, asked, number, changed, ends_at, is_over: false }
    }

    pub(crate) fn body(self) -> Body {
        let lines = stream::unfold(self, |mut watching| async move {
            let line = watching.line().await?;
            let frame = Frame::data(Bytes::from(format!("{line}\n")));
            Some((Ok::<_, Infallible>(frame), watching))
        });
        StreamBody::new(lines).boxed_unsync()
    }

    /// The next line, or `None` once the watch has lasted as long as was asked for.
    async fn line(&mut self) -> Option<Value> {
        while !self.is_over {
            match self.next() {
                Next::Line(line) => return Some(line),
                Next::Gone(line) => {
                    self.is_over = true;
                    return Some(line);
                }
                Next::Frozen => return std::future::pending().await,
                Next::Nothing => tokio::select! {
                    _ = self.changed.changed() => {}
                    () = sleep_until(self.ends_at) => self.is_over = true,
                },
            }
        }
        None
    }

    fn next(&mut self) -> Next {
        self.changed.mark_unchanged();
        let state = self.api.state();
        if self.number <= state.frozen {
            return Next::Frozen;
        }
        if self.asked.since < state.oldest {
            let object = failure(410, "too old resource version");
            return Next::Gone(json!({ "type": "ERROR", "object": object }));
        }
        let news = state.past.iter().find(|event| {
            event.version > self.asked.since
                && (event.kind == "BOOKMARK" || self.asked.wants(&event.object))
        });
        let Some(event) = news else { return Next::Nothing };
        self.asked.since = event.version;
        Next::Line(json!({ "type": event.kind, "object": event.object }))
    }
}
