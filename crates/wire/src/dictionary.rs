use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::hash::version;

/// The numbers that stand for routes on the wire.
///
/// Numbering as in pomelo 2.2.7: all handler routes of the cluster, sorted, get
/// 1, 2, 3…; the entries of the user's list follow in their order. All servers
/// of a cluster must be given the same routes.
#[derive(Clone, Debug)]
pub struct Dictionary {
    codes: BTreeMap<Box<str>, u16>,
    /// The route of code 1 first.
    routes: Vec<Box<str>>,
    json: Map<String, Value>,
    version: String,
}

impl Dictionary {
    /// Numbers `handlers`, in whatever order they are given, and then `user`.
    ///
    /// A route that comes again gets the later number for pushes and can be
    /// called by both. Routes after the 65 535th get no number.
    pub fn new(handlers: &[&str], user: &[&str]) -> Self {
        let mut sorted = handlers.to_vec();
        // The default order of JavaScript's sort: by UTF-16 code units.
        sorted.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
        sorted.dedup();

        let mut codes = BTreeMap::new();
        let mut routes = Vec::new();
        let mut json = Map::new();
        for (code, route) in (1..=u16::MAX).zip(sorted.into_iter().chain(user.iter().copied())) {
            codes.insert(route.into(), code);
            routes.push(route.into());
            json.insert(route.to_owned(), code.into());
        }
        let json = js_key_order(json);
        let version = version(&Value::Object(json.clone()).to_string());
        Self { codes, routes, json, version }
    }

    /// Returns the number of `route`.
    pub fn code(&self, route: &str) -> Option<u16> {
        self.codes.get(route).copied()
    }

    /// Returns the route of `code`; 0 never has one.
    pub fn route(&self, code: u16) -> Option<&str> {
        let index = usize::from(code).checked_sub(1)?;
        self.routes.get(index).map(|route| &**route)
    }

    /// Changes when the numbering does; opaque to clients. Equal to that of
    /// pomelo 2.2.7 for the same routes (vectors HASH-01 and HASH-02).
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Route to number, as the handshake carries it.
    pub fn json(&self) -> &Map<String, Value> {
        &self.json
    }

    /// Number, as a decimal string, to route, as the handshake carries it.
    pub fn inverse_json(&self) -> Map<String, Value> {
        let routes = (1..=u16::MAX).zip(&self.routes);
        routes.map(|(code, route)| (code.to_string(), Value::from(&**route))).collect()
    }
}

/// Puts keys in the order of a JavaScript object: decimal integers first, by
/// value, then all others as they came. Versions are hashes of such objects.
pub(crate) fn js_key_order(map: Map<String, Value>) -> Map<String, Value> {
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_by_key(|(key, _)| array_index(key).map_or((1, 0), |index| (0, index)));
    entries.into_iter().collect()
}

pub(crate) fn array_index(key: &str) -> Option<u32> {
    let index: u32 = key.parse().ok()?;
    (index < u32::MAX && index.to_string() == key).then_some(index)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_route_that_comes_again_keeps_both_numbers_and_its_place() {
        let dictionary = Dictionary::new(&["b.b.b", "a.a.a"], &["onX", "a.a.a"]);
        let json = Value::Object(dictionary.json().clone());
        assert_eq!(json.to_string(), r#"{"a.a.a":4,"b.b.b":2,"onX":3}"#);
        let inverse = Value::Object(dictionary.inverse_json());
        assert_eq!(inverse, json!({"1": "a.a.a", "2": "b.b.b", "3": "onX", "4": "a.a.a"}));
        assert_eq!(dictionary.code("a.a.a"), Some(4));
        assert_eq!(
            [0, 1, 4, 5].map(|code| dictionary.route(code)),
            [None, Some("a.a.a"), Some("a.a.a"), None]
        );
    }

    #[test]
    fn handlers_are_sorted_by_utf16_units() {
        let dictionary = Dictionary::new(&["\u{ff00}", "\u{1f600}"], &[]);
        assert_eq!(dictionary.route(1), Some("\u{1f600}"));
    }

    #[test]
    fn keys_that_are_numbers_come_first() {
        let json = Value::Object(Dictionary::new(&["a.b.c"], &["7"]).json().clone());
        assert_eq!(json.to_string(), r#"{"7":2,"a.b.c":1}"#);

        let map = json!({"b": 0, "10": 0, "2": 0, "02": 0, "a": 0}).as_object().unwrap().clone();
        let keys: Vec<_> = js_key_order(map).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["2", "10", "b", "02", "a"]);
    }
}
