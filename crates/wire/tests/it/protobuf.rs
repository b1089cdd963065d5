use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use wire::*;

/// A field type with all that is needed to make values of it.
#[derive(Clone, Debug)]
enum Ty {
    Simple(&'static str),
    Message(Vec<(&'static str, Ty)>),
}

fn any_type() -> impl Strategy<Value = Ty> {
    let names = vec!["uInt32", "int32", "sInt32", "float", "double", "string"];
    let simple = prop::sample::select(names).prop_map(Ty::Simple);
    simple.prop_recursive(3, 12, 4, |inner| vec((any_option(), inner), 0..4).prop_map(Ty::Message))
}

fn any_option() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["required", "optional", "repeated"])
}

/// Writes the declaration of a message, as in a schema file. Tags leave gaps,
/// so that some need two bytes.
fn declaration(fields: &[(&'static str, Ty)]) -> Value {
    let mut file = Map::new();
    for (index, (option, ty)) in fields.iter().enumerate() {
        let name = match ty {
            Ty::Simple(name) => (*name).to_owned(),
            Ty::Message(inner) => {
                file.insert(format!("message M{index}"), declaration(inner));
                format!("M{index}")
            }
        };
        file.insert(format!("{option} {name} f{index}"), json!(1 + index * 7));
    }
    Value::Object(file)
}

/// Values in the form in which they are read back: whole numbers as integers.
fn any_value(ty: &Ty) -> BoxedStrategy<Value> {
    let quarters = |n: i32| if n % 4 == 0 { json!(n / 4) } else { json!(f64::from(n) / 4.0) };
    match ty {
        Ty::Simple("uInt32") => any::<u32>().prop_map(Value::from).boxed(),
        Ty::Simple("float") => any::<i16>().prop_map(move |n| quarters(n.into())).boxed(),
        Ty::Simple("double") => any::<i32>().prop_map(quarters).boxed(),
        Ty::Simple("string") => "[a-zé中😀\u{0}]{0,8}".prop_map(Value::from).boxed(),
        Ty::Simple(_) => any::<i32>().prop_map(Value::from).boxed(),
        Ty::Message(fields) => any_object(fields).boxed(),
    }
}

fn any_object(fields: &[(&'static str, Ty)]) -> impl Strategy<Value = Value> + use<> {
    let values: Vec<_> = fields.iter().map(|(option, ty)| field_value(option, ty)).collect();
    (values, any::<bool>()).prop_map(|(values, backwards)| {
        let fields = values.into_iter().enumerate();
        let mut fields: Vec<_> = fields.filter_map(|(i, v)| Some((format!("f{i}"), v?))).collect();
        if backwards {
            fields.reverse();
        }
        Value::Object(fields.into_iter().collect())
    })
}

fn field_value(option: &str, ty: &Ty) -> BoxedStrategy<Option<Value>> {
    let value = any_value(ty);
    match option {
        "required" => value.prop_map(Some).boxed(),
        "optional" => prop::option::of(value).boxed(),
        _ => vec(value, 0..4).prop_map(|v| (!v.is_empty()).then(|| v.into())).boxed(),
    }
}

fn any_fields() -> impl Strategy<Value = Vec<(&'static str, Ty)>> {
    vec((any_option(), any_type()), 0..5)
}

proptest! {
    #[test]
    fn values_of_any_schema_survive_the_wire_in_both_text_forms(
        (fields, value) in any_fields().prop_flat_map(|f| { let v = any_object(&f); (Just(f), v) }),
    ) {
        let schema = Schema::parse(&json!({ "r": declaration(&fields) }));
        for form in [TextForm::Utf8, TextForm::Cesu8] {
            let bytes = schema.encode_as(form, "r", &value).unwrap();
            let is_empty = value.as_object().unwrap().is_empty();
            prop_assert_eq!(bytes.is_none(), is_empty);
            let bytes = bytes.unwrap_or_default();
            let read = schema.decode("r", &bytes).unwrap();
            // As text, because equality of objects does not see the order.
            prop_assert_eq!(read.to_string(), value.to_string());
            for cut in 1..bytes.len() {
                let read = schema.decode("r", &bytes[..cut]);
                prop_assert!(read.is_err() || read.unwrap() != value);
            }
        }
    }

    #[test]
    fn arbitrary_bodies_never_panic(
        fields in any_fields(),
        body in vec(prop_oneof![0..64_u8, any::<u8>()], 0..64),
    ) {
        let schema = Schema::parse(&json!({ "r": declaration(&fields) }));
        let _ = schema.decode("r", &body);
    }
}

#[test]
fn a_count_without_elements_allocates_nothing() {
    let schema = Schema::parse(&json!({
        "r": { "repeated uInt32 a": 1, "repeated double b": 2, "repeated uInt64 c": 3 },
    }));
    let decode = |body: &[u8]| schema.decode("r", body);
    assert_eq!(decode(b"\x08\xff\xff\xff\xff\x7f"), Err(BodyError::Truncated));
    assert_eq!(decode(b"\x08\x02\x01"), Err(BodyError::Truncated));
    assert_eq!(decode(b"\x11\x01\0\0\0\0\0\0\0"), Err(BodyError::Truncated));
    assert_eq!(decode(b"\x1a\xff\xff\xff\xff\x7f"), Ok(json!({ "c": [] })));
}

#[test]
fn nesting_has_an_end() {
    let schema = Schema::parse(&json!({
        "message T": { "optional T t": 1 },
        "r": { "optional T t": 1 },
    }));
    let nested = |depth: usize| {
        let mut body = Vec::new();
        for _ in 0..depth {
            body = [&[0x0a, body.len() as u8], &body[..]].concat();
        }
        body
    };
    assert!(schema.decode("r", &nested(60)).is_ok());
    assert_eq!(schema.decode("r", &nested(64)), Err(BodyError::TooDeep));

    let value = (0..64).fold(json!({}), |value, _| json!({ "t": value }));
    assert_eq!(schema.encode("r", &value), Err(EncodeError::TooDeep));
}

/// Encodes one value of field `a` and compares the bytes, or the error.
#[track_caller]
fn check(field: &str, value: impl Into<Value>, expected: Result<&[u8], EncodeError>) {
    let schema = Schema::parse(&json!({ "r": { field: 1, "optional uInt32 b": 2 } }));
    let bytes = schema.encode("r", &json!({ "a": value.into(), "b": 1 }));
    // The second field shows that what follows is in its place.
    let expected = expected.map(|bytes| Some([bytes, &[0x10, 1]].concat()));
    assert_eq!(bytes, expected);
}

#[test]
fn odd_values_are_written_as_the_original_writes_them_or_refused() {
    let mismatch = || Err(EncodeError::Mismatch("a".into()));
    let out_of_range = || Err(EncodeError::OutOfRange("a".into()));
    check("optional uInt32 a", json!(" 42abc"), Ok(&[0x08, 42]));
    check("optional int32 a", json!("-2"), Ok(&[0x08, 3]));
    check("optional int32 a", json!(-3.9), Ok(&[0x08, 5]));
    check("optional uInt32 a", json!("x"), mismatch());
    check("optional uInt32 a", json!(-1), out_of_range());
    check("optional uInt32 a", json!(1e300), out_of_range());
    check("optional sInt32 a", json!(i64::MIN), out_of_range());
    check("optional uInt32 a", Value::Null, mismatch());
    check("optional string a", Value::Null, mismatch());
    check("optional float a", json!("1"), mismatch());
    check("repeated uInt32 a", Value::Null, Ok(&[]));
    check("repeated uInt32 a", json!(5), Ok(&[]));
    check("repeated string a", json!("text"), mismatch());
    check("repeated bool a", json!([true, false]), Ok(&[0x0a, 0x0a]));
    check("repeated uInt64 a", json!([1, 2]), Ok(&[0x0a, 2]));
}

#[test]
fn a_required_field_is_missed_at_any_level() {
    let schema = Schema::parse(&json!({
        "r": { "message P": { "required uInt32 x": 1 }, "repeated P list": 1, "optional P one": 2 },
    }));
    let encode = |value: Value| schema.encode("r", &value).unwrap();
    assert_eq!(encode(json!({ "one": {} })), None);
    assert_eq!(encode(json!({ "list": [{ "x": 1 }, {}] })), None);
    assert_eq!(encode(json!({ "one": { "x": 0 } })), Some(vec![0x12, 2, 0x08, 0]));
    assert_eq!(encode(json!(5)), None);
}
