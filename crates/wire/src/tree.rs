use std::borrow::Cow;

/// Levels of arrays and objects; serde_json takes as many.
const DEPTH_MAX: usize = 128;

/// A JSON value with its place in the text, for what must know *where*
/// something stands: the lines of a file, the property that is cut out of a
/// signed body. Keeps double keys, the digits of numbers, and the order.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    /// The value as it is written, without the blanks around it.
    pub(crate) raw: &'a str,
    /// Offset of `raw` in the text.
    pub(crate) at: usize,
    pub(crate) kind: NodeKind<'a>,
}

#[derive(Debug)]
pub(crate) enum NodeKind<'a> {
    /// `null`, `true`, `false`, or a number.
    Plain,
    Text,
    Array(Vec<Node<'a>>),
    /// Keys, which are texts, and values.
    Object(Vec<(Node<'a>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// Takes apart a text that serde_json accepts. Of others it accepts some
    /// and returns `None` for the rest.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut reader = Reader { text, at: 0 };
        let node = reader.value(0)?;
        reader.skip_blanks();
        (reader.at == text.len()).then_some(node)
    }

    /// Offset behind the value.
    pub(crate) fn end(&self) -> usize {
        self.at + self.raw.len()
    }

    /// What a text says, unless it has half a surrogate pair; `None` for other
    /// values.
    pub(crate) fn text(&self) -> Option<Cow<'a, str>> {
        match self.kind {
            NodeKind::Text if !self.raw.contains('\\') => {
                Some(Cow::Borrowed(&self.raw[1..self.raw.len() - 1]))
            }
            NodeKind::Text => serde_json::from_str(self.raw).ok().map(Cow::Owned),
            NodeKind::Plain | NodeKind::Array(_) | NodeKind::Object(_) => None,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Node<'a>> {
        self.skip_blanks();
        let at = self.at;
        let kind = match self.peek()? {
            b'"' => self.string()?,
            b'[' => NodeKind::Array(self.list(b']', depth, Self::value)?),
            b'{' => NodeKind::Object(self.list(b'}', depth, Self::member)?),
            _ => self.plain()?,
        };
        Some(Node { raw: self.text.get(at..self.at)?, at, kind })
    }

    fn member(&mut self, depth: usize) -> Option<(Node<'a>, Node<'a>)> {
        let key = self.value(depth).filter(|key| matches!(key.kind, NodeKind::Text))?;
        self.skip_blanks();
        self.take(b':')?;
        Some((key, self.value(depth)?))
    }

    /// Reads from the opening bracket to the closing one.
    fn list<T>(
        &mut self,
        close: u8,
        depth: usize,
        item: impl Fn(&mut Self, usize) -> Option<T>,
    ) -> Option<Vec<T>> {
        if depth == DEPTH_MAX {
            return None;
        }
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.take(close).is_some() {
            return Some(items);
        }
        loop {
            items.push(item(self, depth + 1)?);
            self.skip_blanks();
            if self.take(close).is_some() {
                return Some(items);
            }
            self.take(b',')?;
        }
    }

    fn string(&mut self) -> Option<NodeKind<'a>> {
        loop {
            self.at += 1;
            match self.peek()? {
                b'\\' => self.at += 1,
                b'"' => break,
                _ => {}
            }
        }
        self.at += 1;
        Some(NodeKind::Text)
    }

    fn plain(&mut self) -> Option<NodeKind<'a>> {
        let rest = &self.text.as_bytes()[self.at..];
        let is_part = |b: &&u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
        let len = rest.iter().take_while(is_part).count();
        self.at += len;
        (len > 0).then_some(NodeKind::Plain)
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes a tree without its blanks.
    fn compact(node: &Node<'_>) -> String {
        match &node.kind {
            NodeKind::Plain | NodeKind::Text => node.raw.to_owned(),
            NodeKind::Array(items) => {
                format!("[{}]", items.iter().map(compact).collect::<Vec<_>>().join(","))
            }
            NodeKind::Object(members) => {
                let members = members.iter().map(|(k, v)| compact(k) + ":" + &compact(v));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
        }
    }

    #[test]
    fn everything_is_at_its_place() {
        let text = " {\"a\" : [1, -2.5e+3 ,null],\n\"b\\\"\":{ } , \"a\":\"é\\\\\"}\t";
        let root = Node::parse(text).unwrap();
        assert_eq!(compact(&root), r#"{"a":[1,-2.5e+3,null],"b\"":{},"a":"é\\"}"#);
        let NodeKind::Object(members) = &root.kind else { panic!("{root:?}") };
        for (key, value) in members {
            assert_eq!(&text[key.at..key.end()], key.raw);
            assert_eq!(&text[value.at..value.end()], value.raw);
        }
        let texts: Vec<_> = members.iter().map(|(key, value)| (key.text(), value.text())).collect();
        assert_eq!(texts[1], (Some("b\"".into()), None));
        assert_eq!(texts[2], (Some("a".into()), Some("é\\".into())));
    }

    proptest! {
        #[test]
        fn what_serde_takes_is_taken_and_nothing_panics(
            text in r#"([ \n\[\]{}:,\\"]|"a"|"\\u00e9"|-?[0-9.]{1,3}|null|é|😀){0,14}"#,
        ) {
            let ours = Node::parse(&text);
            if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                prop_assert!(ours.is_some());
            }
        }
    }

    #[test]
    fn nesting_ends_where_that_of_serde_does() {
        for depth in [1, 127, 128, 129] {
            let text = "[".repeat(depth) + &"]".repeat(depth);
            let serde = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            assert!(Node::parse(&text).is_some() || !serde, "{depth}");
        }
        assert!(Node::parse(&"[".repeat(100_000)).is_none());
    }
}
