//! The page: files that are part of the binary.

use std::{borrow::Cow, collections::HashMap, fmt::Write};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};

/// Browsers ask each time, and mostly hear 304: the modules of one release must
/// not meet those of another.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

const NOT_FOUND_PAGE: &str = "404.html";

#[derive(rust_embed::Embed)]
#[folder = "public/"]
struct Public;

/// The files by path, with all that is said about them.
#[derive(Debug)]
pub(crate) struct Assets(HashMap<String, Asset>);

#[derive(Debug)]
struct Asset {
    body: Bytes,
    content_type: HeaderValue,
    etag: HeaderValue,
}

impl Assets {
    pub(crate) fn load() -> Self {
        let load = |name: Cow<'static, str>| {
            let file = Public::get(&name).expect("a file that was just listed");
            let etag = etag(&file.metadata.sha256_hash());
            let body = match file.data {
                Cow::Borrowed(data) => Bytes::from_static(data),
                Cow::Owned(data) => Bytes::from(data),
            };
            let content_type = content_type(&name);
            let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
            (path, Asset { body, content_type, etag })
        };
        Self(Public::iter().map(load).collect())
    }

    /// The answer to a GET of `path`.
    pub(crate) fn get(&self, path: &str, headers: &HeaderMap) -> Response {
        let Some(asset) = self.0.get(path) else { return self.not_found(headers) };
        let caching = [(ETAG, asset.etag.clone()), (CACHE_CONTROL, REVALIDATE)];
        if is_current(headers, &asset.etag) {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        (caching, [(CONTENT_TYPE, asset.content_type.clone())], asset.body.clone()).into_response()
    }

    /// A page for people, a line for programs.
    fn not_found(&self, headers: &HeaderMap) -> Response {
        let wants_html = headers
            .get_all(http::header::ACCEPT)
            .iter()
            .any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")));
        let page = self.0.get(&format!("/{NOT_FOUND_PAGE}")).filter(|_| wants_html);
        let Some(page) = page else {
            return (StatusCode::NOT_FOUND, "not found\n").into_response();
        };
        let content_type = [(CONTENT_TYPE, page.content_type.clone())];
        (StatusCode::NOT_FOUND, content_type, page.body.clone()).into_response()
    }
}

fn is_current(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let current = etag.to_str().expect("hex is ASCII");
    let mut lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    lists.any(|list| {
        list.split(',').map(str::trim).any(|one| {
            // A proxy that compresses on the way marks the tag as weak.
            one == "*" || one.strip_prefix("W/").unwrap_or(one) == current
        })
    })
}

fn etag(hash: &[u8]) -> HeaderValue {
    let mut text = String::from("\"");
    for byte in &hash[..16] {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text.push('"');
    HeaderValue::try_from(text).expect("hex is ASCII")
}

fn content_type(name: &str) -> HeaderValue {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    HeaderValue::from_static(match extension {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_type_that_browsers_take() {
        for (path, asset) in &Assets::load().0 {
            assert_ne!(asset.content_type, "application/octet-stream", "{path}");
        }
    }

    #[test]
    fn a_tag_is_current_however_it_is_listed() {
        let etag = etag(&[0xab; 32]);
        let tag = format!("\"{}\"", "ab".repeat(16));
        assert_eq!(etag, tag.as_str());
        let check = |sent: &str, current: bool| {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, sent.parse().unwrap())]);
            assert_eq!(is_current(&headers, &etag), current, "{sent}");
        };
        check(&tag, true);
        check(&format!("W/{tag}"), true);
        check(&format!("\"x\", {tag}"), true);
        check("*", true);
        check("\"x\"", false);
        check("ab", false);
    }
}
