//! From the first byte of a connection to a WebSocket, or to a refusal.

use std::net::IpAddr;

use chassis::{ReadHalf, Rng, Unreadable, forwarded_for};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::{
    Error,
    error::ProtocolError,
    handshake::{machine::TryParse, server::create_response},
};

use crate::{CloseReason, Options, origins};

/// The longest HTTP request head, in bytes.
const HEAD_LEN_MAX: usize = 8 * 1024;

/// Browsers send half a kilobyte.
const READ_LEN: usize = 1024;

/// The longest time after which those who are too many are told to come back, in
/// seconds.
const RETRY_AFTER_MAX: u64 = 5;

const METHODS: [&str; 9] =
    ["GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH "];

/// What a client wants.
#[derive(Debug)]
pub(crate) enum Opening {
    /// Packages in WebSocket messages.
    WebSocket {
        /// To be sent first.
        response: Vec<u8>,
        /// What the client sent behind its request.
        rest: Vec<u8>,
        /// Who the client is, if its proxy is believed and says so.
        forwarded: Result<Option<IpAddr>, Unreadable>,
        /// What it asked for.
        request: Box<Request<()>>,
    },
    /// Packages without anything around.
    Tcp {
        /// What was read of them.
        head: Vec<u8>,
    },
    /// Something that it will not get.
    Refused {
        /// To be sent before closing.
        response: Vec<u8>,
        /// Why.
        reason: CloseReason,
    },
    /// Nothing that can be answered.
    Closed(CloseReason),
}

/// Finds out what the client wants, or the one behind it if `is_proxy`. Bounded in
/// memory, not in time.
pub(crate) async fn open(read: &mut ReadHalf, options: &Options, is_proxy: bool) -> Opening {
    let mut head = Vec::new();
    let end = loop {
        let searched = head.len();
        head.reserve(READ_LEN);
        match read.take(READ_LEN as u64).read_buf(&mut head).await {
            Ok(0) | Err(_) => return Opening::Closed(CloseReason::PeerLost),
            Ok(_) => {}
        }
        // One byte tells: package types are 1 to 5, HTTP methods are letters.
        match head[0] {
            0x01..=0x05 => return Opening::Tcp { head },
            _ if may_be_http(&head) => {}
            _ => return Opening::Closed(CloseReason::NotHttp),
        }
        let end = end_of_head(&head, searched);
        // However it is cut up, the same heads are too long.
        if end.unwrap_or(head.len()) > HEAD_LEN_MAX {
            return refuse("431 Request Header Fields Too Large", "", "the request is too long");
        }
        if let Some(end) = end {
            break end;
        }
    };
    let rest = head.split_off(end);
    answer(&head, rest, options, is_proxy)
}

/// Whether `head` begins like a request, as far as it goes: who sends something
/// else is not kept waiting, as in the original.
fn may_be_http(head: &[u8]) -> bool {
    METHODS.iter().any(|method| {
        let len = head.len().min(method.len());
        head[..len] == method.as_bytes()[..len]
    })
}

/// The length of the head, of which `searched` bytes are known not to end it.
fn end_of_head(head: &[u8], searched: usize) -> Option<usize> {
    let ends = |end: &usize| head[..*end].ends_with(b"\n\r\n") || head[..*end].ends_with(b"\n\n");
    (searched..=head.len()).find(ends)
}

fn answer(head: &[u8], rest: Vec<u8>, options: &Options, is_proxy: bool) -> Opening {
    let Judged { protocol, response: accepted, forwarded, request } =
        match judge(head, options, is_proxy) {
            Ok(None) => return refuse("403 Forbidden", "", "not from this page"),
            Ok(Some(judged)) => judged,
            Err(error) => return refuse_error(&error),
        };
    let accept = &accepted.headers()[header::SEC_WEBSOCKET_ACCEPT];
    // Written by hand, because some embedded clients want the usual capitals.
    let mut response = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: "
        .to_vec();
    response.extend(accept.as_bytes());
    if let Some(protocol) = protocol {
        response.extend(b"\r\nSec-WebSocket-Protocol: ");
        response.extend(protocol.as_bytes());
    }
    response.extend(b"\r\n\r\n");
    Opening::WebSocket { response, rest, forwarded, request }
}

/// What is wrong with a request that is no upgrade.
fn refuse_error(error: &Error) -> Opening {
    match error {
        Error::Protocol(ProtocolError::WrongHttpMethod) => {
            refuse("405 Method Not Allowed", "Allow: GET\r\n", "only GET")
        }
        Error::Protocol(
            ProtocolError::WrongHttpVersion
            | ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader,
        ) => {
            let headers = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
            refuse("426 Upgrade Required", headers, "this port speaks WebSocket")
        }
        Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
            refuse("400 Bad Request", "Sec-WebSocket-Version: 13, 8\r\n", "the version is not 13")
        }
        _ => refuse("400 Bad Request", "", "not a WebSocket upgrade"),
    }
}

/// What a request gets.
struct Judged {
    /// To be echoed.
    protocol: Option<HeaderValue>,
    /// The rest of the response.
    response: Response<()>,
    forwarded: Result<Option<IpAddr>, Unreadable>,
    request: Box<Request<()>>,
}

/// None if the page may not connect.
fn judge(head: &[u8], options: &Options, is_proxy: bool) -> Result<Option<Judged>, Error> {
    let (_, mut request) = Request::try_parse(head)?.ok_or(ProtocolError::HandshakeIncomplete)?;
    // Drafts 8 to 12 of the WebSocket protocol, which the original takes, too, are
    // the same as 13 on the wire.
    match request.headers_mut().get_mut(header::SEC_WEBSOCKET_VERSION) {
        Some(version) if version == "8" => *version = HeaderValue::from_static("13"),
        _ => {}
    }
    let (response, headers) = (create_response(&request)?, request.headers());
    let is_allowed = origins::is_allowed(&options.allowed_origins, headers);
    let trusted = is_proxy.then_some(&options.trusted_proxies);
    let protocol = first_protocol(headers);
    let forwarded = trusted.map_or(Ok(None), |trusted| forwarded_for(trusted, headers));
    let request = Box::new(request);
    Ok(is_allowed.then_some(Judged { protocol, response, forwarded, request }))
}

/// The first protocol offered; the original echoes it, whatever it is.
fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.as_bytes();
    let first = offered.split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    HeaderValue::from_bytes(first).ok().filter(|first| !first.is_empty())
}

fn refuse(status: &str, headers: &str, body: &str) -> Opening {
    let response = http_response(status, headers, body);
    Opening::Refused { response, reason: CloseReason::HttpRefused }
}

/// What those are told who are too many: to come back at some time or other.
pub(crate) fn full(rng: &Rng) -> Vec<u8> {
    let seconds = 1 + rng.u64() % RETRY_AFTER_MAX;
    http_response("503 Service Unavailable", &format!("Retry-After: {seconds}\r\n"), "full")
}

/// Whether a client that begins with `first` could read such an answer: neither
/// packages do, nor TLS.
pub(crate) fn may_read_http(first: u8) -> bool {
    !matches!(first, 0x01..=0x05 | 0x16)
}

/// A whole HTTP response, after which the connection is closed.
fn http_response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let len = body.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain\r\nContent-Length: {len}\r\n\
         Connection: close\r\n\r\n{body}\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const KEY: &str =
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";

    /// What `request` leads to when it comes in pieces of `size` bytes.
    async fn open_in_pieces(request: &str, size: usize) -> Opening {
        let (server, mut client) = tokio::io::duplex(size);
        let (mut read, _write) = chassis::Stream::Other(Box::new(server)).into_split();
        let send = async {
            let _ = client.write_all(request.as_bytes()).await;
            let _ = client.shutdown().await;
            std::future::pending::<()>().await;
        };
        let options = Options::default();
        tokio::select! {
            opening = open(&mut read, &options, false) => opening,
            () = send => unreachable!("it has no end"),
        }
    }

    #[track_caller]
    fn check(request: &str, expected: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for size in [1, 7, 100_000] {
            let opening = runtime.block_on(open_in_pieces(request, size));
            let got = match &opening {
                Opening::WebSocket { response, .. } => {
                    String::from_utf8_lossy(response).into_owned()
                }
                Opening::Refused { response, .. } => String::from_utf8_lossy(response).into_owned(),
                Opening::Tcp { .. } => "tcp".to_owned(),
                Opening::Closed(reason) => reason.as_str().to_owned(),
            };
            assert!(got.contains(expected), "{request:?} in pieces of {size}: {got}");
        }
    }

    #[test]
    fn an_upgrade_is_accepted_whatever_the_path_and_origin() {
        let request = |rest: &str| format!("GET /any?x=1 HTTP/1.1\r\n{UPGRADE}{KEY}{rest}\r\n");
        check(&request("Origin: http://evil\r\n"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
        check(
            &request("Sec-WebSocket-Protocol: old , new\r\n"),
            "Sec-WebSocket-Protocol: old\r\n\r\n",
        );
        check(&request("").replace("13", "8"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
        // Extensions are declined by saying nothing.
        check(&request("Sec-WebSocket-Extensions: permessage-deflate\r\n"), "xOo=\r\n\r\n");
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        check("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426 Upgrade Required");
        check("GET / HTTP/1.0\r\n\r\n", "426 Upgrade Required");
        check("POST / HTTP/1.1\r\n\r\n", "405 Method Not Allowed");
        let old = KEY.replace("13", "7");
        for version in ["", &old] {
            let request = format!("GET / HTTP/1.1\r\n{UPGRADE}{version}\r\n");
            check(&request, "400 Bad Request\r\nSec-WebSocket-Version: 13, 8\r\n");
        }
        let no_key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n";
        check(&format!("GET / HTTP/1.1\r\n{UPGRADE}{no_key}\r\n"), "400 Bad Request");
        check("GET nonsense\r\n\r\n", "400 Bad Request");
        // At the first byte that no method has.
        check("NONSENSE", "not_http");
        check("GOT / HTTP/1.1", "not_http");
        check("GET", "peer_lost");
        check("GET / HTTP/1.1\n\n", "426 Upgrade Required");
        check(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(10_000)), "431 Request Header");
        check("GET / HTTP/1.1\r\nHost", "peer_lost");
        check("\x01\0\0\0", "tcp");
        check("\x16\x03\x01", "not_http");
        check("get / HTTP/1.1\r\n\r\n", "not_http");
        check("", "peer_lost");
    }

    #[test]
    fn what_follows_the_head_is_kept() {
        let request = format!("GET / HTTP/1.1\r\n{UPGRADE}{KEY}\r\nfollows");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        match runtime.block_on(open_in_pieces(&request, 100_000)) {
            Opening::WebSocket { rest, .. } => assert_eq!(rest, b"follows"),
            other => panic!("{other:?}"),
        }
    }
}
