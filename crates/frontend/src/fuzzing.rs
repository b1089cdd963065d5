//! The bodies of the fuzz targets in `fuzz/`, here so that a test on stable can
//! replay their corpus. Each takes arbitrary bytes and panics on a bug.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use chassis::Stream;
use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::upgrade::{self, Opening};

/// Bytes that come in pieces, and then the end.
#[derive(Debug)]
struct Pieces {
    left: Vec<u8>,
    size: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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
    let pieces = Pieces { left: data.to_vec(), size };
    let (mut read, _write) = Stream::Other(Box::new(pieces)).into_split();
    let allowed = ["https://chat.example".parse().expect("an origin")];
    let opening = upgrade::open(&mut read, &allowed).now_or_never();
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
            Opening::Refused { response } => assert!(response.starts_with(b"HTTP/1.1 4")),
            Opening::Closed(_) => {}
        }
    }
    match (&whole, &cut) {
        (Opening::WebSocket { response: one, .. }, Opening::WebSocket { response: other, .. })
        | (Opening::Refused { response: one }, Opening::Refused { response: other }) => {
            assert_eq!(one, other);
        }
        (Opening::Tcp { .. }, Opening::Tcp { .. }) => {}
        (Opening::Closed(one), Opening::Closed(other)) => assert_eq!(one, other),
        (one, other) => panic!("{one:?} as a whole, {other:?} in pieces of {size}"),
    }
}
