//! What waits to be sent to one shard.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll},
};

use futures::task::AtomicWaker;
use prost::Message;
use rpc::chat::v1::{Command, LinkRequest, command};

/// One link's commands, in order. Never waits: when more waits than may, the link
/// is over, and the rooms go over a new one.
#[derive(Debug)]
pub(crate) struct Upstream {
    state: Mutex<State>,
    waker: AtomicWaker,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    commands: Vec<Command>,
    bytes: usize,
    ended: bool,
}

/// One request of the stream holds at most this many bytes of commands.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

impl Upstream {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), waker: AtomicWaker::new(), bytes_max })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("an outbox is never left half-changed")
    }

    /// Puts a command in line. What comes after the end is dropped: its room will
    /// be taken elsewhere, with all that is unanswered.
    pub(crate) fn push(&self, request_id: u64, command: command::Command) {
        let command = Command { request_id, command: Some(command) };
        let mut state = self.state();
        if state.ended {
            return;
        }
        state.bytes += command.encoded_len() + 8;
        if state.bytes > self.bytes_max {
            drop(state);
            return self.end();
        }
        state.commands.push(command);
        drop(state);
        self.waker.wake();
    }

    /// Ends the stream; what waits is dropped.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.commands = Vec::new();
        drop(state);
        self.waker.wake();
    }

    /// True if nothing is sent any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.state().ended
    }

    fn take(&self) -> Option<LinkRequest> {
        let mut state = self.state();
        if state.commands.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = |command: &Command| {
            bytes += command.encoded_len();
            bytes <= REQUEST_BYTES_MAX
        };
        let count = state.commands.iter().map(fits).take_while(|fits| *fits).count().max(1);
        let rest = state.commands.split_off(count);
        let commands = std::mem::replace(&mut state.commands, rest);
        let taken: usize = commands.iter().map(|command| command.encoded_len() + 8).sum();
        state.bytes = state.bytes.saturating_sub(taken);
        Some(LinkRequest { commands })
    }
}

/// Whoever gives up opening a link must not leave a stream behind.
impl Drop for Upstream {
    fn drop(&mut self) {
        self.waker.wake();
    }
}

/// The request stream of a link: each item carries all that waits. Ends with the
/// last handle of its [`Upstream`].
#[derive(Debug)]
pub(crate) struct Requests(pub(crate) Weak<Upstream>);

impl futures::Stream for Requests {
    type Item = LinkRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(upstream) = self.0.upgrade() else { return Poll::Ready(None) };
        upstream.waker.register(cx.waker());
        match upstream.take() {
            Some(request) => Poll::Ready(Some(request)),
            None if upstream.has_ended() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
