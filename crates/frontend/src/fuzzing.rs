//! The bodies of the fuzz targets in `fuzz/`, here so that a test on stable can
//! replay their corpus. Each takes arbitrary bytes and panics on a bug.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use chassis::Stream;
use futures::FutureExt;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    Options,
    socket::Socket,
    upgrade::{self, Opening},
};

/// Bytes that come in pieces, and then the end.
#[derive(Debug)]
pub(crate) struct Pieces {
    left: Vec<u8>,
    size: usize,
    /// Whether nothing comes at every other time.
    pauses: bool,
    is_paused: bool,
}

impl Pieces {
    pub(crate) fn new(data: &[u8], size: usize, pauses: bool) -> Self {
        Self { left: data.to_vec(), size, pauses, is_paused: false }
    }

    /// What was not read.
    #[cfg(test)]
    pub(crate) fn left(&self) -> &[u8] {
        &self.left
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_paused = self.pauses && !self.is_paused;
        if self.is_paused {
            return Poll::Pending;
        }
        let len = self.size.min(buf.remaining()).min(self.left.len());
        buf.put_slice(&self.left[..len]);
        self.left.drain(..len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn open(data: &[u8], size: usize) -> Opening {
    let pieces = Pieces::new(data, size, false);
    let (mut read, _write) = Stream::Other(Box::new(pieces)).into_split();
    let options = Options {
        allowed_origins: vec!["https://chat.example".parse().expect("an origin")],
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
        ..Options::default()
    };
    let opening = upgrade::open(&mut read, &options, true).now_or_never();
    opening.expect("there is nothing to wait for")
}

/// However a connection's first bytes are cut up, the same comes of them, and what
/// follows the request is what the client sent.
pub fn upgrade(data: &[u8]) {
    let size = data.first().map_or(1, |first| usize::from(*first % 29) + 1);
    let (whole, cut) = (open(data, usize::MAX), open(data, size));
    for opening in [&whole, &cut] {
        match opening {
            Opening::WebSocket { rest, .. } => {
                let is_behind = |at: usize| data[at..].starts_with(rest);
                assert!((0..=data.len()).any(is_behind), "the rest is not what came");
            }
            Opening::Tcp { head } => assert!(data.starts_with(head)),
            Opening::Refused { response, .. } => assert!(response.starts_with(b"HTTP/1.1 4")),
            Opening::Closed(_) => {}
        }
    }
    match (&whole, &cut) {
        (
            Opening::WebSocket { response: one, forwarded: by_one, .. },
            Opening::WebSocket { response: other, forwarded: by_other, .. },
        ) => assert_eq!((one, by_one), (other, by_other)),
        (Opening::Refused { response: one, .. }, Opening::Refused { response: other, .. }) => {
            assert_eq!(one, other);
        }
        (Opening::Tcp { .. }, Opening::Tcp { .. }) => {}
        (Opening::Closed(one), Opening::Closed(other)) => assert_eq!(one, other),
        (one, other) => panic!("{one:?} as a whole, {other:?} in pieces of {size}"),
    }
}

/// The longest message, so that fuzzing finds those that are longer.
const MESSAGE_LEN_MAX: usize = 16 * 1024;

/// The messages of a WebSocket, how it ends, and what it answers by itself.
type Conversation = (Vec<Bytes>, String, Vec<u8>);

/// Reads what follows the upgrade, of which `rest` came with it.
fn listen(data: &[u8], rest: usize, size: usize) -> Conversation {
    let (rest, data) = data.split_at(rest.min(data.len()));
    let pieces = Pieces::new(data, size, true);
    let (read, _write) = Stream::Other(Box::new(pieces)).into_split();
    let mut socket = Socket::new(read, rest.to_vec(), MESSAGE_LEN_MAX);
    let (bytes_in, mut messages, mut answer) = (Counter::default(), Vec::new(), Vec::new());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    loop {
        match socket.poll_message(&mut cx, &bytes_in, &mut answer) {
            Poll::Ready(Ok(message)) => messages.extend(message),
            Poll::Ready(Err(error)) => return (messages, error.to_string(), answer),
            Poll::Pending => socket.shrink(),
        }
    }
}

/// However a WebSocket's bytes are cut up, they are the same messages, none of them
/// too long, and are answered the same.
///
/// The first byte says how much comes with the upgrade, the second how long the
/// pieces are.
pub fn frames(data: &[u8]) {
    let Some(([rest, size], data)) = data.split_first_chunk::<2>() else { return };
    let whole = listen(data, 0, usize::MAX);
    assert!(whole.0.iter().all(|message| message.len() <= MESSAGE_LEN_MAX));
    assert_eq!(listen(data, usize::from(*rest), usize::from(*size) + 1), whole);
}
