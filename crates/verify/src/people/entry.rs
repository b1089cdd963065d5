//! Where clients connect.

use std::{fmt, str::FromStr, time::Duration};

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio_tungstenite::tungstenite::http::Uri;

use super::{Shared, socket};

/// The longest that one waits who is sent nowhere, or to where nobody is.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// Where clients connect.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// To any of these connectors.
    Connectors(Vec<Url>),
    /// To where this gate sends them; they ask it each time that they come.
    Gate(Url),
}

/// Where a WebSocket is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Url {
    /// `host:port`.
    pub(crate) addr: String,
    /// The path, with its query.
    path: String,
}

impl Entry {
    /// Where to go, and what to call it.
    pub(crate) async fn find(
        &self,
        shared: &Shared,
        client: &str,
        extended: bool,
        drawn: u64,
    ) -> anyhow::Result<(String, Url)> {
        match self {
            Self::Connectors(connectors) => {
                let number = (drawn % connectors.len() as u64) as usize;
                Ok((format!("connector-{}", number + 1), connectors[number].clone()))
            }
            Self::Gate(gate) => {
                let answer = socket::ask(&shared.net, gate, client, extended).await?;
                let at = gate.told(&answer)?;
                Ok((at.addr.clone(), at))
            }
        }
    }

    /// How long one waits at most before one tries again, having `failed` so often.
    pub(crate) fn patience(&self, first: Duration, failed: u32, clients: usize) -> Duration {
        match self {
            Self::Connectors(_) => first,
            Self::Gate(_) => {
                let max = PATIENCE_MAX.max(spread(clients) / 4);
                max.min(first * 2_u32.pow(failed.min(8)) / 2)
            }
        }
    }
}

/// Over how long so many come, so that they do not hold each other up.
pub(crate) fn spread(clients: usize) -> Duration {
    Duration::from_secs(1).max(Duration::from_millis(clients as u64 * 10))
}

impl Url {
    /// The root of what listens at `addr`.
    pub(crate) fn root(addr: &impl ToString) -> Self {
        Self { addr: addr.to_string(), path: "/".to_owned() }
    }

    fn host(&self) -> &str {
        self.addr.rsplit_once(':').map_or(&*self.addr, |(host, _)| host)
    }

    /// Where this gate's answer leads, read as clients do.
    fn told(&self, answer: &Value) -> anyhow::Result<Self> {
        let text = |name: &str| answer[name].as_str().unwrap_or_default();
        ensure!(answer["code"] == 200, "the gate names no connector: {answer}");
        ensure!(answer["tls"] != true, "clients here speak no TLS: {answer}");
        let host = match text("host") {
            "" => self.host(),
            host => host,
        };
        let url = format!("ws://{host}:{}{}", answer["port"], text("path"));
        url.parse().map_err(anyhow::Error::msg).context("the gate's answer")
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}{}", self.addr, self.path)
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(raw: &str) -> Result<Self, String> {
        let wrong = || format!("{raw:?} is not ws://HOST:PORT or ws://HOST:PORT/PATH");
        let url: Uri = raw.parse().map_err(|_| wrong())?;
        let host = url.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let is_plain = url.scheme_str() == Some("ws");
        let authority = url.authority().filter(|_| is_plain).ok_or_else(wrong)?.as_str();
        // `Uri` takes anything for a port.
        let port = match authority.strip_prefix(host).ok_or_else(wrong)? {
            "" => 80,
            port => port[1..].parse::<u16>().map_err(|_| wrong())?,
        };
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { addr: format!("{host}:{port}"), path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_gates_answer_is_read_as_clients_do() {
        let gate: Url = "ws://gate.test:3014/gate".parse().unwrap();
        let check = |answer: Value, expected: Option<&str>| {
            let told = gate.told(&answer).ok().map(|at| at.to_string());
            assert_eq!(told.as_deref(), expected, "{answer}");
        };
        let answer = |host: &str| json!({ "code": 200, "host": host, "port": 80 });
        check(answer("c.test"), Some("ws://c.test:80/"));
        check(answer("c.test:81/ws?"), Some("ws://c.test:81/ws?:80"));
        check(answer(""), Some("ws://gate.test:80/"));
        let mut extended = answer("[::1]");
        extended["path"] = "/ws".into();
        check(extended.clone(), Some("ws://[::1]:80/ws"));
        extended["tls"] = true.into();
        check(extended, None);
        check(json!({ "code": 500 }), None);
    }

    #[test]
    fn addresses_are_urls_of_websockets() {
        for url in ["h:1", "http://h:1", "wss://h:1", "ws://u@h:1", "ws://:1", "/gate", ""] {
            assert!(url.parse::<Url>().is_err(), "{url}");
        }
        assert_eq!("ws://h".parse(), Ok(Url::root(&"h:80")));
    }
}
