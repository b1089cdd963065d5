use serde_json::{Map, Value};

use crate::encode::DEPTH_MAX;
use crate::schema::{FieldOption, MessageSchema, Schema, Type};
use crate::text::from_wire;

/// Why a protobuf body is malformed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// The route has no schema.
    #[error("route has no schema")]
    NoSchema,
    /// The body ends inside a field. The original returns what is there (vector
    /// PB-D4); we refuse, because browser builds cut bodies that are longer
    /// than their JSON text and then the rest is missing (vector PB-09b).
    #[error("body ends too early")]
    Truncated,
    /// A tag without a field. It cannot be skipped: the wire type says nothing
    /// about the length. The original throws (vector PB-D3).
    #[error("unknown tag {0}")]
    UnknownTag(u64),
    /// More than nine bytes of integer; real clients stay below 2⁵⁴.
    #[error("integer has no end")]
    IntegerTooLong,
    /// Messages are nested deeper than 64 levels.
    #[error("body is nested too deep")]
    TooDeep,
}

impl Schema {
    /// Reads a body written by any build of pomelo-protobuf.
    ///
    /// The wire types in the keys are ignored, because the builds disagree about
    /// them (vector PB-D1). The last one of several occurrences of a field
    /// wins; absent fields, required or not, stay absent. An empty body is `{}`.
    /// The value takes up to about two hundred times the memory of `body`.
    ///
    /// # Errors
    ///
    /// Any [`BodyError`].
    pub fn decode(&self, route: &str, body: &[u8]) -> Result<Value, BodyError> {
        let root = self.root(route).ok_or(BodyError::NoSchema)?;
        let mut reader = Reader { bytes: body };
        let map = self.read_message(&self.messages[root], &mut reader, 0)?;
        Ok(Value::Object(map))
    }

    fn read_message(
        &self,
        message: &MessageSchema,
        reader: &mut Reader<'_>,
        depth: usize,
    ) -> Result<Map<String, Value>, BodyError> {
        if depth == DEPTH_MAX {
            return Err(BodyError::TooDeep);
        }
        let mut map = Map::new();
        while !reader.bytes.is_empty() {
            let tag = reader.varint()? >> 3;
            let index = u32::try_from(tag).ok().and_then(|tag| message.by_tag.get(&tag));
            let field = &message.fields[*index.ok_or(BodyError::UnknownTag(tag))?];
            if field.option != FieldOption::Repeated {
                if let Some(value) = self.read_value(field.ty, reader, depth)? {
                    map.insert(field.name.clone(), value);
                }
                continue;
            }
            let array = map.entry(&*field.name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(array) = array else { continue };
            let count = if field.ty.is_number() { reader.count(field.ty)? } else { 1 };
            for _ in 0..count {
                array.extend(self.read_value(field.ty, reader, depth)?);
            }
        }
        Ok(map)
    }

    /// Reads one value; `None` for types that nothing writes.
    fn read_value(
        &self,
        ty: Type,
        reader: &mut Reader<'_>,
        depth: usize,
    ) -> Result<Option<Value>, BodyError> {
        Ok(Some(match ty {
            Type::Unsigned => Value::from(reader.varint()?),
            Type::Signed => {
                let number = reader.varint()?;
                Value::from((number >> 1) as i64 ^ -((number & 1) as i64))
            }
            Type::Float => js_number(f32::from_le_bytes(reader.array()?).into()),
            Type::Double => js_number(f64::from_le_bytes(reader.array()?)),
            Type::Text => Value::String(from_wire(reader.prefixed()?).into_owned()),
            Type::Message(inner) => {
                let mut inner_reader = Reader { bytes: reader.prefixed()? };
                let inner = &self.messages[inner];
                Value::Object(self.read_message(inner, &mut inner_reader, depth + 1)?)
            }
            Type::NumberWithoutCodec | Type::Unsupported => return Ok(None),
        }))
    }
}

/// Returns `number` as JavaScript prints it: integers without a fraction, and
/// `null` for what JSON cannot say.
fn js_number(number: f64) -> Value {
    let is_exact_integer = number.trunc() == number && number.abs() <= (1_u64 << 53) as f64;
    if is_exact_integer { Value::from(number as i64) } else { Value::from(number) }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BodyError> {
        let (head, rest) = self.bytes.split_at_checked(len).ok_or(BodyError::Truncated)?;
        self.bytes = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BodyError> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or(BodyError::Truncated)?;
        self.bytes = rest;
        Ok(*head)
    }

    /// Reads base-128 groups; the result is below 2⁶³.
    fn varint(&mut self) -> Result<u64, BodyError> {
        let mut number = 0;
        for (at, byte) in self.bytes.iter().enumerate().take(9) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.bytes = &self.bytes[at + 1..];
                return Ok(number);
            }
        }
        let is_cut = self.bytes.len() < 9;
        Err(if is_cut { BodyError::Truncated } else { BodyError::IntegerTooLong })
    }

    /// Reads a length and then that many bytes.
    fn prefixed(&mut self) -> Result<&'a [u8], BodyError> {
        let len = self.varint()?;
        self.take(usize::try_from(len).map_err(|_| BodyError::Truncated)?)
    }

    /// Reads the number of elements of an array. Each takes a byte at least, so
    /// more than the bytes that are left is refused before any is read; types
    /// without a value have none, or the count would cost the sender nothing.
    fn count(&mut self, ty: Type) -> Result<u64, BodyError> {
        let count = self.varint()?;
        if ty == Type::NumberWithoutCodec {
            return Ok(0);
        }
        if count > self.bytes.len() as u64 {
            return Err(BodyError::Truncated);
        }
        Ok(count)
    }
}
