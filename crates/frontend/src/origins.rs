//! Which web pages may connect.

use std::{fmt, str::FromStr};

use http::{HeaderMap, Uri, header};

/// A web page's origin: `scheme://host` or `scheme://host:port`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin(String);

/// It is not written as origins are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be scheme://host or scheme://host:port, as browsers send it")]
pub struct InvalidOrigin;

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(raw: &str) -> Result<Self, InvalidOrigin> {
        let uri: Uri = raw.trim().parse().map_err(|_| InvalidOrigin)?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(InvalidOrigin);
        };
        let is_plain = uri.path() == "/" && !raw.trim().ends_with('/');
        if !is_plain || uri.query().is_some() || raw.contains('@') || host.is_empty() {
            return Err(InvalidOrigin);
        }
        let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
        let is_usual =
            |port: &u16| matches!((scheme.as_str(), port), ("http", 80) | ("https", 443));
        Ok(Self(match uri.port_u16().filter(|port| !is_usual(port)) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a request comes from an allowed page, or from no page at all. An empty
/// list allows all.
pub(crate) fn is_allowed(allowed: &[Origin], headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter().peekable();
    if allowed.is_empty() || origins.peek().is_none() {
        return true;
    }
    origins.all(|origin| {
        let origin = origin.to_str().ok().and_then(|raw| raw.parse().ok());
        origin.is_some_and(|origin: Origin| allowed.contains(&origin))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(allowed: &str, sent: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, sent.parse().unwrap());
        let allowed: Vec<Origin> = allowed.split(',').map(|raw| raw.parse().unwrap()).collect();
        assert_eq!(is_allowed(&allowed, &headers), expected, "{sent}");
        assert!(is_allowed(&allowed, &HeaderMap::new()), "native clients have no origin");
        assert!(is_allowed(&[], &headers));
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        check("https://chat.example", "https://chat.example", true);
        check("https://chat.example", "https://CHAT.example:443", true);
        check("https://chat.example", "http://chat.example", false);
        check("https://chat.example", "https://chat.example.evil", false);
        check("https://chat.example", "https://chat.example:8443", false);
        check("https://chat.example,http://localhost:3001", "http://localhost:3001", true);
        check("https://chat.example", "null", false);
        check("https://chat.example", "https://evil@chat.example", false);
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for raw in ["", "chat.example", "*", "https://", "https://chat.example/", "https://a/b"] {
            assert_eq!(raw.parse::<Origin>(), Err(InvalidOrigin), "{raw}");
        }
    }
}
