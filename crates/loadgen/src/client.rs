//! One Pomelo client on a WebSocket, with no more to it than load needs.

use std::{
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use chassis::{Clock, Net, Stream};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::Instant,
};
use wire::{Kind, Message, PushRoute, RawId, RawRoute, Schema};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What a plain client says of itself.
pub(crate) const HELLO: &[u8] = br#"{"sys":{"type":"load","version":"0.0.1"}}"#;
const READ_LEN: usize = 4 * 1024;
const FINAL_BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const MASKED: u8 = 0x80;

/// What all clients together have seen.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Chat messages.
    pub(crate) deliveries: AtomicU64,
    /// Everything that was pushed, chat messages included.
    pub(crate) pushes: AtomicU64,
    /// Answers to sends.
    pub(crate) replies: AtomicU64,
    /// Those of them that said no.
    pub(crate) refusals: AtomicU64,
    /// Clients that the server closed.
    pub(crate) closes: AtomicU64,
    /// Why the first of them was.
    pub(crate) first_close: OnceLock<String>,
    /// From sending to arriving, in microseconds.
    pub(crate) latencies: Mutex<Vec<u64>>,
}

impl Counts {
    pub(crate) fn get(count: &AtomicU64) -> u64 {
        count.load(Ordering::Relaxed)
    }
}

/// A connection through the handshake.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Stream,
    inbox: BytesMut,
    heartbeat: Option<Duration>,
    /// When to beat next.
    beat: Option<Instant>,
    /// How the server wants requests; as JSON, if there is none.
    schema: Option<Box<Schema>>,
}

/// Marks the time of sending in a message; the rest is padding.
pub(crate) const STAMP: &str = "sent=";

impl Client {
    /// Connects and shakes hands.
    pub(crate) async fn connect(net: &Net, addr: &str) -> anyhow::Result<Self> {
        Self::connect_as(net, addr, "/", HELLO).await
    }

    /// Connects to a path, and shakes hands in other words.
    pub(crate) async fn connect_as(
        net: &Net,
        addr: &str,
        path: &str,
        hello: &[u8],
    ) -> anyhow::Result<Self> {
        let stream = net.dial(addr).await.with_context(|| format!("dial {addr}"))?;
        let inbox = BytesMut::new();
        let mut client = Self { stream, inbox, heartbeat: None, beat: None, schema: None };
        let head = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n{UPGRADE}");
        client.stream.write_all(head.as_bytes()).await?;
        client.read_upgrade().await?;
        client.write_package(Kind::Handshake, hello).await?;
        let answer = client.package_of(Kind::Handshake).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        ensure!(answer["code"] == 200, "handshake refused: {answer}");
        client.heartbeat = answer["sys"]["heartbeat"].as_u64().map(Duration::from_secs);
        client.schema = schema(&answer["sys"]["protos"]["client"]).map(Box::new);
        client.write_package(Kind::HandshakeAck, b"").await?;
        Ok(client)
    }

    /// Calls, and waits for the answer.
    pub(crate) async fn call(&mut self, route: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(route, body).await?;
        loop {
            let data = self.package_of(Kind::Data).await?;
            if let Message::Response { body, .. } = Message::decode(data)? {
                return Ok(serde_json::from_slice(&body)?);
            }
        }
    }

    /// Lives until the server ends it: counts, beats, and writes the requests
    /// that `requests` gives. `start` is the origin of the times in messages.
    pub(crate) async fn live(
        mut self,
        counts: &Counts,
        mut requests: Option<mpsc::Receiver<Bytes>>,
        start: Instant,
    ) -> anyhow::Result<()> {
        loop {
            while let Some((kind, body)) = self.take_package()? {
                if kind == Kind::Data {
                    count(body, counts, start)?;
                }
            }
            self.inbox.reserve(READ_LEN);
            tokio::select! {
                read = self.stream.read_buf(&mut self.inbox) => {
                    ensure!(read? > 0, "the server closed");
                }
                () = until(self.beat) => {
                    self.beat = None;
                    self.write_package(Kind::Heartbeat, b"").await?;
                }
                request = next(&mut requests) => self.stream.write_all(&request).await?,
            }
        }
    }

    /// Calls, and leaves the answer to who reads on.
    pub(crate) async fn ask(&mut self, route: &str, body: &Value) -> anyhow::Result<()> {
        let schema = self.schema.as_ref().filter(|schema| schema.contains(route));
        let body = match schema.map(|schema| schema.encode(route, body)).transpose()? {
            Some(Some(protobuf)) => protobuf,
            Some(None) | None => serde_json::to_vec(body)?,
        };
        Ok(self.stream.write_all(&request(&RawId::new(1), route, &body)?).await?)
    }

    /// The next message, whatever it is. Beats meanwhile.
    pub(crate) async fn message(&mut self) -> anyhow::Result<Message> {
        Ok(Message::decode(self.package_of(Kind::Data).await?)?)
    }

    async fn read_upgrade(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(end) = self.inbox.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = self.inbox.split_to(end + 4);
                ensure!(head.starts_with(b"HTTP/1.1 101 "), "upgrade refused: {head:?}");
                return Ok(());
            }
            ensure!(self.stream.read_buf(&mut self.inbox).await? > 0, "closed at the upgrade");
        }
    }

    /// The next package of one kind; others are skipped.
    async fn package_of(&mut self, wanted: Kind) -> anyhow::Result<Bytes> {
        loop {
            while let Some((kind, body)) = self.take_package()? {
                if kind == wanted {
                    return Ok(body);
                }
            }
            self.inbox.reserve(READ_LEN);
            let due = self.beat;
            tokio::select! {
                read = self.stream.read_buf(&mut self.inbox) => {
                    ensure!(read? > 0, "the server closed");
                }
                () = until(due) => {
                    self.beat = None;
                    self.write_package(Kind::Heartbeat, b"").await?;
                }
            }
        }
    }

    fn take_package(&mut self) -> anyhow::Result<Option<(Kind, Bytes)>> {
        let package = take_package(&mut self.inbox)?;
        if let Some((Kind::Heartbeat, _)) = package {
            // Like the JS client: an interval after the server's.
            self.beat = self.heartbeat.map(|after| Clock::real().now() + after);
        }
        Ok(package)
    }

    async fn write_package(&mut self, kind: Kind, body: &[u8]) -> anyhow::Result<()> {
        let mut package = BytesMut::new();
        wire::encode_package(kind, body, &mut package)?;
        Ok(self.stream.write_all(&frame(&package)).await?)
    }
}

/// The schemas of a handshake, of messages that have no messages in them. They are told
/// field by field, `{"uid":{"option":"required","type":"string","tag":1}}`.
fn schema(told: &Value) -> Option<Schema> {
    let field = |(name, told): (&String, &Value)| {
        let (option, kind) = (told["option"].as_str()?, told["type"].as_str()?);
        Some((format!("{option} {kind} {name}"), told["tag"].clone()))
    };
    let file = told.as_object()?.iter().filter_map(|(route, fields)| {
        let fields: serde_json::Map<_, _> = fields.as_object()?.iter().filter_map(field).collect();
        Some((route.clone(), Value::Object(fields)))
    });
    let file: serde_json::Map<_, _> = file.collect();
    (!file.is_empty()).then(|| Schema::parse(&Value::Object(file)))
}

/// One request as bytes for the socket.
pub(crate) fn request(id: &RawId, route: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut package = BytesMut::new();
    wire::encode_request(id, PushRoute::Name(route), body, &mut package)?;
    Ok(frame(&package))
}

/// A client's frame; masked, as it must be, with zeros.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![FINAL_BINARY];
    match payload.len() {
        len @ 0..=125 => frame.push(MASKED | len as u8),
        len @ 126..=0xffff => {
            frame.push(MASKED | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(MASKED | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The package of the next whole frame.
fn take_package(inbox: &mut BytesMut) -> anyhow::Result<Option<(Kind, Bytes)>> {
    let Some((header_len, len)) = frame_lens(inbox) else { return Ok(None) };
    if inbox.len() < header_len + len {
        return Ok(None);
    }
    let first = inbox[0];
    inbox.advance(header_len);
    let payload = inbox.split_to(len).freeze();
    match first {
        FINAL_BINARY => {}
        CLOSE => bail!("the server closed: {payload:?}"),
        other => bail!("frame of kind {other:#x}"),
    }
    let mut packages = wire::decode_frame(payload, wire::BODY_LEN_MAX);
    let package = packages.next().context("an empty frame")??;
    ensure!(packages.next().is_none(), "two packages in a frame");
    Ok(Some((package.kind, package.body)))
}

/// The lengths of the next frame's header and payload, if they are known yet.
pub(crate) fn frame_lens(inbox: &[u8]) -> Option<(usize, usize)> {
    Some(match *inbox.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(inbox.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(inbox.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    })
}

fn count(data: Bytes, counts: &Counts, start: Instant) -> anyhow::Result<()> {
    match Message::decode(data)? {
        Message::Push { route: RawRoute::Name(name), body } => {
            counts.pushes.fetch_add(1, Ordering::Relaxed);
            if &name[..] == b"onChat" {
                let nth = counts.deliveries.fetch_add(1, Ordering::Relaxed);
                // A sample is enough for percentiles.
                if nth.is_multiple_of(16)
                    && let Some(sent) = stamp(&body)
                {
                    let now = (Clock::real().now() - start).as_micros() as u64;
                    let latency = now.saturating_sub(sent);
                    counts.latencies.lock().expect("nobody panics").push(latency);
                }
            }
        }
        Message::Response { body, .. } => {
            counts.replies.fetch_add(1, Ordering::Relaxed);
            if body.windows(7).any(|bytes| bytes == b"\"code\":") {
                counts.refusals.fetch_add(1, Ordering::Relaxed);
            }
        }
        _ => {}
    }
    Ok(())
}

/// The time in a message, in whatever encoding it is.
fn stamp(body: &[u8]) -> Option<u64> {
    let at = body.windows(STAMP.len()).position(|bytes| bytes == STAMP.as_bytes())?;
    let digits = body[at + STAMP.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |sent, digit| sent * 10 + u64::from(digit - b'0')))
}

/// Waits for a time, or for ever.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn next(requests: &mut Option<mpsc::Receiver<Bytes>>) -> Bytes {
    if let Some(receiver) = requests
        && let Some(request) = receiver.recv().await
    {
        return request;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_however_long() {
        for len in [0, 100, 121, 122, 70_000] {
            let mut package = BytesMut::new();
            wire::encode_package(Kind::Data, &vec![7; len], &mut package).unwrap();
            // As a server writes it: the same, without a mask.
            let mut bytes = frame(&package);
            let header_len = bytes.len() - package.len() - 4;
            bytes.drain(header_len..header_len + 4);
            bytes[1] &= !MASKED;

            let mut inbox = BytesMut::new();
            for byte in bytes {
                assert_eq!(take_package(&mut inbox).unwrap(), None);
                inbox.extend([byte]);
            }
            let (kind, body) = take_package(&mut inbox).unwrap().unwrap();
            assert_eq!((kind, body.len(), inbox.len()), (Kind::Data, len, 0));
        }
    }

    #[test]
    fn the_time_of_sending_is_found_in_any_encoding() {
        assert_eq!(stamp(br#"{"msg":"sent=1234567 ....","from":"a"}"#), Some(1_234_567));
        assert_eq!(stamp(b"\x0a\x0bsent=89 ..\x12\x01a"), Some(89));
        assert_eq!(stamp(b"hello"), None);
    }
}
