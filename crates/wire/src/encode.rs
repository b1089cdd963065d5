use bytes::BufMut;
use serde_json::{Map, Value};

use crate::schema::{FieldOption, MessageSchema, Schema, Type};
use crate::text::{TextForm, to_form};

/// Levels of messages inside each other that are written and read.
pub(crate) const DEPTH_MAX: usize = 64;

/// Integers beyond this have no exact zigzag form in 64 bits.
const INTEGER_MAX: i64 = 1 << 62;

/// Why a value cannot be written by its schema. The original throws in these
/// cases, and the push is lost.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// The route has no schema.
    #[error("route has no schema")]
    NoSchema,
    /// A field's value is of another type, for example a number in a `string`
    /// field (vector PB-28), or `null`.
    #[error("field {0:?} has a value of another type")]
    Mismatch(String),
    /// A negative number in a `uInt32` field (vector PB-27), or one beyond 2⁶².
    #[error("field {0:?} has a number that is out of range")]
    OutOfRange(String),
    /// Messages are nested deeper than 64 levels.
    #[error("value is nested too deep")]
    TooDeep,
}

impl Schema {
    /// Writes `value` in the encoding of pomelo-protobuf 0.4.0, which is *not*
    /// that of Google: integers are all zigzag or unsigned, arrays of numbers
    /// are counted in elements, fields come in the order of the value's keys.
    ///
    /// Returns `None` if a required field is absent, at any level, or if there
    /// is nothing to write; the original then sends an empty body (vectors
    /// PB-15 and PB-17). Keys without a field are left out. Strings of digits
    /// and fractions are taken as integers where integers are due (vectors
    /// PB-30 and PB-31).
    ///
    /// # Errors
    ///
    /// Any [`EncodeError`].
    pub fn encode(&self, route: &str, value: &Value) -> Result<Option<Vec<u8>>, EncodeError> {
        self.encode_as(TextForm::Utf8, route, value)
    }

    /// As [`Schema::encode`], with strings in the given form.
    ///
    /// # Errors
    ///
    /// Any [`EncodeError`].
    pub fn encode_as(
        &self,
        form: TextForm,
        route: &str,
        value: &Value,
    ) -> Result<Option<Vec<u8>>, EncodeError> {
        let root = self.root(route).ok_or(EncodeError::NoSchema)?;
        let Some(value) = value.as_object() else { return Ok(None) };
        let writer = Writer { schema: self, form };
        if !writer.is_complete(&self.messages[root], value, 0)? {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(64);
        writer.message(&self.messages[root], value, &mut out)?;
        Ok(Some(out).filter(|out| !out.is_empty()))
    }
}

struct Writer<'a> {
    schema: &'a Schema,
    form: TextForm,
}

impl Writer<'_> {
    /// Whether every required field is there. Checked before anything is
    /// written, so that half a message is never sent.
    fn is_complete(
        &self,
        message: &MessageSchema,
        value: &Map<String, Value>,
        depth: usize,
    ) -> Result<bool, EncodeError> {
        if depth == DEPTH_MAX {
            return Err(EncodeError::TooDeep);
        }
        for field in &message.fields {
            let Some(value) = value.get(&field.name) else {
                if field.option == FieldOption::Required {
                    return Ok(false);
                }
                continue;
            };
            let Type::Message(inner) = field.ty else { continue };
            let inner = &self.schema.messages[inner];
            let elements = match value {
                Value::Array(elements) if field.option == FieldOption::Repeated => &elements[..],
                _ if field.option == FieldOption::Repeated => &[],
                value => std::slice::from_ref(value),
            };
            for element in elements {
                if !self.is_complete(inner, object(element, &field.name)?, depth + 1)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn message(
        &self,
        message: &MessageSchema,
        value: &Map<String, Value>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        for (name, value) in value {
            let Some(index) = message.by_name.get(name) else { continue };
            let field = &message.fields[*index];
            let key = key(field.tag, field.ty);
            if field.option != FieldOption::Repeated {
                put_varint(key, out);
                self.value(field.ty, value, name, out)?;
                continue;
            }
            let elements = match value {
                Value::Array(elements) if !elements.is_empty() => elements,
                Value::String(text) if !text.is_empty() => {
                    return Err(EncodeError::Mismatch(name.clone()));
                }
                _ => continue,
            };
            if field.ty.is_number() {
                put_varint(key, out);
                put_varint(elements.len() as u64, out);
            }
            for element in elements {
                if !field.ty.is_number() {
                    put_varint(key, out);
                }
                self.value(field.ty, element, name, out)?;
            }
        }
        Ok(())
    }

    fn value(
        &self,
        ty: Type,
        value: &Value,
        name: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let mismatch = || EncodeError::Mismatch(name.to_owned());
        match ty {
            Type::Unsigned => {
                let number = u64::try_from(integer(value, name)?);
                put_varint(number.map_err(|_| EncodeError::OutOfRange(name.to_owned()))?, out);
            }
            Type::Signed => {
                let number = integer(value, name)?;
                put_varint(((number << 1) ^ (number >> 63)) as u64, out);
            }
            Type::Float => {
                let number = value.as_f64().ok_or_else(mismatch)? as f32;
                out.extend_from_slice(&number.to_le_bytes());
            }
            Type::Double => {
                let number = value.as_f64().ok_or_else(mismatch)?;
                out.extend_from_slice(&number.to_le_bytes());
            }
            Type::Text => {
                let bytes = to_form(value.as_str().ok_or_else(mismatch)?, self.form);
                put_varint(bytes.len() as u64, out);
                out.extend_from_slice(&bytes);
            }
            Type::Message(inner) => {
                let mut body = Vec::new();
                self.message(&self.schema.messages[inner], object(value, name)?, &mut body)?;
                put_varint(body.len() as u64, out);
                out.extend_from_slice(&body);
            }
            // The key without a value: what the original writes (vector PB-29).
            Type::NumberWithoutCodec | Type::Unsupported => {}
        }
        Ok(())
    }
}

impl Type {
    /// Whether arrays of this type are written as a count and bare values.
    pub(crate) fn is_number(self) -> bool {
        match self {
            Self::Unsigned
            | Self::Signed
            | Self::Float
            | Self::Double
            | Self::NumberWithoutCodec => true,
            Self::Text | Self::Message(_) | Self::Unsupported => false,
        }
    }
}

/// Returns the number that stands before a field's value.
pub(crate) fn key(tag: u32, ty: Type) -> u64 {
    let wire_type = match ty {
        Type::Unsigned | Type::Signed => 0,
        Type::Double => 1,
        Type::Float => 5,
        Type::Text | Type::Message(_) | Type::NumberWithoutCodec | Type::Unsupported => 2,
    };
    u64::from(tag) << 3 | wire_type
}

/// Appends base-128 groups, least significant first.
pub(crate) fn put_varint(mut number: u64, out: &mut impl BufMut) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn object<'a>(value: &'a Value, name: &str) -> Result<&'a Map<String, Value>, EncodeError> {
    value.as_object().ok_or_else(|| EncodeError::Mismatch(name.to_owned()))
}

/// Reads an integer as `parseInt` does: numbers lose their fraction, text gives
/// its leading decimal digits.
fn integer(value: &Value, name: &str) -> Result<i64, EncodeError> {
    let number = match value {
        Value::Number(number) => match number.as_i64() {
            Some(number) => number,
            // The cast saturates, and what it saturates to is refused below.
            None => number.as_f64().unwrap_or(f64::INFINITY).trunc() as i64,
        },
        Value::String(text) => {
            let text = text.trim_start();
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            if end == 0 {
                return Err(EncodeError::Mismatch(name.to_owned()));
            }
            let magnitude = digits[..end].parse().unwrap_or(i64::MAX);
            if text.starts_with('-') { -magnitude } else { magnitude }
        }
        _ => return Err(EncodeError::Mismatch(name.to_owned())),
    };
    if !(-INTEGER_MAX..=INTEGER_MAX).contains(&number) {
        return Err(EncodeError::OutOfRange(name.to_owned()));
    }
    Ok(number)
}
