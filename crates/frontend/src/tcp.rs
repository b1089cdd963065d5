//! The reading side of one raw TCP connection: from bytes to packages.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use chassis::ReadHalf;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, ReadBuf};
use wire::{DecodeError, Decoder, Package};

/// Bytes that one read asks for.
const READ_LEN: usize = 1024;

/// Packages one after the other, however TCP cuts them up.
#[derive(Debug)]
pub(crate) struct Tcp {
    read: ReadHalf,
    decoder: Decoder,
}

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TcpError {
    /// The client has closed its side.
    #[error("the client has closed")]
    Ended,
    /// The connection broke.
    #[error("the connection broke")]
    Lost,
    /// What came is no package, and there is no way to find the next.
    #[error("malformed")]
    Malformed(#[from] DecodeError),
}

impl Tcp {
    /// `head` has been read already. Longer bodies are refused at their header.
    pub(crate) fn new(read: ReadHalf, head: &[u8], body_len_max: usize) -> Self {
        let mut decoder = Decoder::new(body_len_max);
        decoder.feed(head);
        Self { read, decoder }
    }

    /// Reads one package.
    pub(crate) fn poll_package(
        &mut self,
        cx: &mut Context<'_>,
        bytes_in: &Counter,
    ) -> Poll<Result<Package, TcpError>> {
        loop {
            if let Some(package) = self.decoder.poll()? {
                return Poll::Ready(Ok(package));
            }
            let mut scratch = [0; READ_LEN];
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.read).poll_read(cx, &mut buf)) {
                Ok(()) if buf.filled().is_empty() => return Poll::Ready(Err(TcpError::Ended)),
                Ok(()) => {
                    bytes_in.inc_by(buf.filled().len() as u64);
                    self.decoder.feed(buf.filled());
                }
                Err(_) => return Poll::Ready(Err(TcpError::Lost)),
            }
        }
    }

    /// Reads and forgets. True at the end of the stream.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut scratch = [0; READ_LEN];
        let mut buf = ReadBuf::new(&mut scratch);
        let read = Pin::new(&mut self.read).poll_read(cx, &mut buf);
        read.map(|read| read.is_err() || buf.filled().is_empty())
    }
}
