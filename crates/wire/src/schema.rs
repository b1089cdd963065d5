use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::dictionary::js_key_order;
use crate::hash::version;

/// Levels of `message` declarations inside each other that are read; deeper
/// ones are dropped.
pub(crate) const NESTING_MAX: usize = 32;

/// The protobuf schemas of one direction, as pomelo-protobuf 0.4.0 reads them
/// from `serverProtos.json` or `clientProtos.json`.
///
/// ```
/// let schema = wire::Schema::parse(&serde_json::json!({
///     "onChat": { "required string msg": 1 },
/// }));
/// let body = schema.encode("onChat", &serde_json::json!({ "msg": "hi" }))?;
/// assert_eq!(body.as_deref(), Some(&b"\x0a\x02hi"[..]));
/// # Ok::<(), wire::EncodeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// All messages of all levels; fields refer to them by index.
    pub(crate) messages: Vec<MessageSchema>,
    /// Top-level keys: routes, and `message X` for types that all routes see.
    roots: BTreeMap<String, usize>,
    json: Map<String, Value>,
}

/// The fields of one message.
#[derive(Clone, Debug, Default)]
pub(crate) struct MessageSchema {
    pub(crate) fields: Vec<Field>,
    pub(crate) by_name: BTreeMap<String, usize>,
    pub(crate) by_tag: BTreeMap<u32, usize>,
    nested: BTreeMap<String, usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) option: FieldOption,
    pub(crate) ty: Type,
    pub(crate) tag: u32,
    /// Kept until names are looked up, which needs all declarations.
    type_name: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FieldOption {
    Required,
    Optional,
    Repeated,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Type {
    /// `uInt32`: base-128 groups.
    Unsigned,
    /// `int32` and `sInt32`: zigzag, then as `uInt32`.
    Signed,
    Float,
    Double,
    Text,
    /// Index into [`Schema::messages`].
    Message(usize),
    /// `uInt64` and `sInt64`: known as numbers, but nothing writes them.
    NumberWithoutCodec,
    /// Any other name, for example `bool`: the key is written, no value.
    Unsupported,
}

impl Schema {
    /// Reads a schema file's JSON.
    ///
    /// Follows pomelo-protobuf 0.4.0 (vector PB-PARSE) in dropping silently
    /// what it does not understand: fields that are not
    /// `<option> <type> <name>`, unknown options, a tag that is already taken.
    /// Also dropped are tags outside 1 to 2²⁹−1, empty and reserved names,
    /// and types nested more than 32 levels deep.
    pub fn parse(file: &Value) -> Self {
        let mut schema = Self::default();
        for (key, declaration) in file.as_object().into_iter().flatten() {
            let (index, json) = schema.parse_message(declaration, 0);
            schema.roots.insert(key.clone(), index);
            schema.json.insert(key.clone(), json);
        }
        schema.json = js_key_order(schema.json);
        for index in 0..schema.messages.len() {
            for field in 0..schema.messages[index].fields.len() {
                let ty = schema.resolve(index, &schema.messages[index].fields[field].type_name);
                schema.messages[index].fields[field].ty = ty;
            }
        }
        schema
    }

    /// The parsed form, which travels in the handshake.
    pub fn json(&self) -> &Map<String, Value> {
        &self.json
    }

    /// Whether bodies of `route` are protobuf.
    pub fn contains(&self, route: &str) -> bool {
        self.roots.contains_key(route)
    }

    /// The routes that have a schema, and the `message X` types, sorted.
    pub fn routes(&self) -> impl Iterator<Item = &str> {
        self.roots.keys().map(String::as_str)
    }

    /// Returns the index of the message of `route`.
    pub(crate) fn root(&self, route: &str) -> Option<usize> {
        self.roots.get(route).copied()
    }

    /// Reads one `{…}` of a schema file; returns its index and parsed form.
    fn parse_message(&mut self, declaration: &Value, depth: usize) -> (usize, Value) {
        let mut message = MessageSchema::default();
        let (mut json, mut nested, mut tags) = (Map::new(), Map::new(), Map::new());
        for (key, value) in declaration.as_object().into_iter().flatten() {
            match key.split(' ').collect::<Vec<_>>()[..] {
                ["message", name] if depth < NESTING_MAX => {
                    let (index, parsed) = self.parse_message(value, depth + 1);
                    message.nested.insert(name.to_owned(), index);
                    nested.insert(name.to_owned(), parsed);
                }
                [option, ty, name] => {
                    let Some(field) = parse_field(option, ty, name, value) else { continue };
                    let tag = field.tag;
                    if message.insert(field) {
                        let parsed = json!({ "option": option, "type": ty, "tag": tag });
                        json.insert(name.to_owned(), parsed);
                        tags.insert(tag.to_string(), name.into());
                    }
                }
                _ => {}
            }
        }
        let mut json = js_key_order(json);
        json.insert("__messages".to_owned(), js_key_order(nested).into());
        json.insert("__tags".to_owned(), js_key_order(tags).into());
        self.messages.push(message);
        (self.messages.len() - 1, json.into())
    }

    /// Looks a type name up: in the message itself, then at the top level.
    /// Enclosing messages in between are not searched.
    fn resolve(&self, message: usize, name: &str) -> Type {
        match name {
            "uInt32" => Type::Unsigned,
            "int32" | "sInt32" => Type::Signed,
            "float" => Type::Float,
            "double" => Type::Double,
            "string" => Type::Text,
            "uInt64" | "sInt64" => Type::NumberWithoutCodec,
            _ => {
                let nested = self.messages[message].nested.get(name);
                let found = nested.or_else(|| self.roots.get(&format!("message {name}")));
                found.map_or(Type::Unsupported, |index| Type::Message(*index))
            }
        }
    }
}

impl MessageSchema {
    /// Adds `field` unless its tag is taken. A name that comes again replaces
    /// the earlier field but leaves its tag pointing to the name.
    fn insert(&mut self, field: Field) -> bool {
        if self.by_tag.contains_key(&field.tag) {
            return false;
        }
        let end = self.fields.len();
        let index = *self.by_name.entry(field.name.clone()).or_insert(end);
        self.by_tag.insert(field.tag, index);
        if index == end {
            self.fields.push(field);
        } else {
            self.fields[index] = field;
        }
        true
    }
}

fn parse_field(option: &str, ty: &str, name: &str, tag: &Value) -> Option<Field> {
    let option = match option {
        "required" => FieldOption::Required,
        "optional" => FieldOption::Optional,
        "repeated" => FieldOption::Repeated,
        _ => return None,
    };
    let tag = u32::try_from(tag.as_u64()?).ok().filter(|tag| (1..1 << 29).contains(tag))?;
    if ["", "__messages", "__tags"].contains(&name) {
        return None;
    }
    let (name, type_name) = (name.to_owned(), ty.to_owned());
    Some(Field { name, option, ty: Type::Unsupported, tag, type_name })
}

/// The schemas of both directions, and their common version.
#[derive(Clone, Debug)]
pub struct Protos {
    server: Schema,
    client: Schema,
    version: String,
}

impl Protos {
    /// Puts together what the server sends by and what clients send by.
    pub fn new(server: Schema, client: Schema) -> Self {
        let [client_json, server_json] =
            [&client, &server].map(|schema| Value::Object(schema.json.clone()).to_string());
        Self { server, client, version: version(&(client_json + &server_json)) }
    }

    /// What a server sends that has protobuf on and no schema files: no
    /// version either.
    pub(crate) fn without_files() -> Self {
        Self { server: Schema::default(), client: Schema::default(), version: String::new() }
    }

    /// Schemas of pushes.
    pub fn server(&self) -> &Schema {
        &self.server
    }

    /// Schemas of requests and notifies.
    pub fn client(&self) -> &Schema {
        &self.client
    }

    /// Changes when a schema does; opaque to clients. Equal to that of pomelo
    /// 2.2.7 for the same files (vector HASH-03).
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What the handshake carries as `protos`.
    pub fn json(&self) -> Value {
        json!({
            "server": self.server.json,
            "client": self.client.json,
            "version": self.version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, parsed: &str) {
        let schema = Schema::parse(&serde_json::from_str(file).unwrap());
        assert_eq!(Value::Object(schema.json).to_string(), parsed);
    }

    #[test]
    fn what_is_not_a_field_is_dropped() {
        check(
            r#"{"r":{"required  string a":1,"needed string b":2,"optional string c":0,
                "optional string d":"5","optional string e":1.5,"message":{},"message x y":3}}"#,
            r#"{"r":{"__messages":{},"__tags":{}}}"#,
        );
    }

    #[test]
    fn tags_are_listed_by_number() {
        check(
            r#"{"r":{"optional string b":10,"optional string a":2}}"#,
            concat!(
                r#"{"r":{"b":{"option":"optional","type":"string","tag":10},"#,
                r#""a":{"option":"optional","type":"string","tag":2},"#,
                r#""__messages":{},"__tags":{"2":"a","10":"b"}}}"#
            ),
        );
    }

    #[test]
    fn a_file_of_another_shape_is_an_empty_schema() {
        check("[]", "{}");
        check(r#"{"r":5}"#, r#"{"r":{"__messages":{},"__tags":{}}}"#);
    }
}
