//! The reading side of one connection: from bytes to WebSocket messages.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use chassis::ReadHalf;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_tungstenite::tungstenite::{
    Error, Message,
    protocol::{Role, WebSocketConfig, WebSocketContext},
};

use crate::boundary::Boundary;

/// Bytes of buffer that an idle session keeps.
const READ_LEN: usize = 1024;

/// A longer frame's buffer is given back when the session is idle again.
const KEPT_LEN_MAX: u64 = 4 * READ_LEN as u64;

/// A client's bytes, and tungstenite's view of them.
#[derive(Debug)]
pub(crate) struct Socket {
    read: ReadHalf,
    context: WebSocketContext,
    boundary: Boundary,
}

impl Socket {
    /// `rest` has been read already. Longer messages are refused, each frame at
    /// its header.
    pub(crate) fn new(read: ReadHalf, rest: Vec<u8>, message_len_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_LEN)
            .write_buffer_size(0)
            .max_message_size(Some(message_len_max))
            .max_frame_size(Some(message_len_max));
        let mut boundary = Boundary::default();
        boundary.pass(&rest);
        let context = match rest.is_empty() {
            true => WebSocketContext::new(Role::Server, Some(config)),
            false => WebSocketContext::from_partially_read(rest, Role::Server, Some(config)),
        };
        Self { read, context, boundary }
    }

    /// Reads one message; control frames give none. What the WebSocket itself
    /// has to say, pongs and the answer to a Close, is appended to `answer`.
    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
        bytes_in: &Counter,
        answer: &mut Vec<u8>,
    ) -> Poll<Result<Option<Bytes>, Error>> {
        let Self { read, context, boundary } = self;
        let message = context.read(&mut Port { read, cx, boundary, bytes_in, answer });
        Poll::Ready(match message {
            Ok(Message::Binary(bytes)) => Ok(Some(bytes)),
            // Go clients send text frames. An empty one is ignored by the original.
            Ok(Message::Text(text)) => {
                Ok(Some(text.into()).filter(|bytes: &Bytes| !bytes.is_empty()))
            }
            // Answered by the connection, as the original does, not by an echo.
            Ok(Message::Close(_)) => Err(Error::ConnectionClosed),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(None),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Poll::Pending;
            }
            Err(error) => Err(error),
        })
    }

    /// Gives back the buffer of a long message once it is done with. To be called
    /// when [`Socket::poll_message`] is pending: then tungstenite holds nothing
    /// but what [`Boundary`] knows of.
    pub(crate) fn shrink(&mut self) {
        if self.boundary.longest() > KEPT_LEN_MAX && self.boundary.is_between_messages() {
            self.boundary.reset();
            let config = *self.context.get_config();
            self.context = WebSocketContext::new(Role::Server, Some(config));
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

/// The socket as tungstenite wants it.
struct Port<'a, 'c> {
    read: &'a mut ReadHalf,
    cx: &'a mut Context<'c>,
    boundary: &'a mut Boundary,
    bytes_in: &'a Counter,
    answer: &'a mut Vec<u8>,
}

impl io::Read for Port<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.read).poll_read(self.cx, &mut buf) {
            Poll::Ready(result) => result?,
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
        }
        self.boundary.pass(buf.filled());
        self.bytes_in.inc_by(buf.filled().len() as u64);
        Ok(buf.filled().len())
    }
}

impl io::Write for Port<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.answer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
