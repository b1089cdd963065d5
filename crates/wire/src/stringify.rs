use std::collections::BTreeMap;

use serde_json::Number;

use crate::dictionary::array_index;
use crate::tree::{Node, NodeKind};

/// Returns JSON text as JavaScript writes it after reading it: without blanks,
/// keys that are integers first, the last of double keys at the place of the
/// first, numbers in their shortest form.
///
/// `None` if a text has half a surrogate pair, or `text` is not JSON.
pub(crate) fn stringify(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    put(&Node::parse(text)?, &mut out)?;
    Some(out)
}

fn put(node: &Node<'_>, out: &mut String) -> Option<()> {
    match &node.kind {
        NodeKind::Plain if node.raw.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            out.push_str(node.raw);
        }
        NodeKind::Plain => out.push_str(&number(node.raw.parse().ok()?)),
        NodeKind::Text => put_text(&node.text()?, out)?,
        NodeKind::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                put(item, out)?;
            }
            out.push(']');
        }
        NodeKind::Object(members) => {
            out.push('{');
            for (index, (key, value)) in in_js_order(members)?.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                put_text(&key, out)?;
                out.push(':');
                put(value, out)?;
            }
            out.push('}');
        }
    }
    Some(())
}

/// The escapes of serde_json are those of JavaScript.
fn put_text(text: &str, out: &mut String) -> Option<()> {
    out.push_str(&serde_json::to_string(text).ok()?);
    Some(())
}

fn in_js_order<'a>(members: &'a [(Node<'a>, Node<'a>)]) -> Option<Vec<(String, &'a Node<'a>)>> {
    let mut order: Vec<(String, &Node<'_>)> = Vec::with_capacity(members.len());
    let mut places = BTreeMap::new();
    for (key, value) in members {
        let key = key.text()?.into_owned();
        let place = *places.entry(key.clone()).or_insert(order.len());
        match order.get_mut(place) {
            Some(earlier) => earlier.1 = value,
            None => order.push((key, value)),
        }
    }
    order.sort_by_key(|(key, _)| array_index(key).map_or((1, 0), |index| (0, index)));
    Some(order)
}

/// Returns `number` as JavaScript's `String(number)`: whole numbers without a
/// fraction, exponents only where there are many zeros.
///
/// ```
/// let json: serde_json::Value = serde_json::from_str("[7.0, 1e21]")?;
/// let texts = json.as_array().into_iter().flatten().filter_map(|value| value.as_number());
/// assert_eq!(texts.map(wire::js_number_text).collect::<Vec<_>>(), ["7", "1e+21"]);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn js_number_text(number: &Number) -> String {
    number.as_f64().map_or_else(|| number.to_string(), self::number)
}

/// Returns `number` as JavaScript's `String(number)`: exponents only below
/// 10⁻⁶ and from 10²¹ on, no fraction of zeros, no minus before zero; `null` for
/// those that are infinite.
fn number(number: f64) -> String {
    if number.is_infinite() {
        return "null".to_owned();
    }
    if number == 0.0 {
        return "0".to_owned();
    }
    // Rust, too, takes the fewest digits that read back the same. Between two
    // that are equally near JavaScript takes the even one; so does Rust when it
    // is told how many digits.
    let shortest = format!("{:e}", number.abs());
    let fraction_len = shortest.bytes().take_while(|byte| *byte != b'e').count().saturating_sub(2);
    let even = format!("{:.fraction_len$e}", number.abs());
    let scientific = if even.parse() == Ok(number.abs()) { even } else { shortest };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    let sign = if number < 0.0 { "-" } else { "" };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let text = match exponent {
        21.. | ..-6 => {
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            let plus = if exponent > 0 { "+" } else { "" };
            format!("{first}{point}{rest}e{plus}{exponent}")
        }
        0.. => {
            let whole = exponent as usize + 1;
            match digits.split_at_checked(whole) {
                Some((whole, "")) => whole.to_owned(),
                Some((whole, fraction)) => format!("{whole}.{fraction}"),
                None => format!("{digits:0<whole$}"),
            }
        }
        _ => format!("0.{}{digits}", "0".repeat(-exponent as usize - 1)),
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(stringify(text).as_deref(), Some(want));
    }

    #[test]
    fn numbers_are_written_as_javascript_does() {
        check(
            "[1.0, -0, -0.0, 1e2, 1.50, 1E-6, 0.0000001, -1.25e-9, 123456789012345680000]",
            "[1,0,0,100,1.5,0.000001,1e-7,-1.25e-9,123456789012345680000]",
        );
        check(
            "[1e21, 12e20, 1e20, 0.1, 9007199254740993, 12345678901234567890, 5e-324, 123.456]",
            "[1e+21,1.2e+21,100000000000000000000,0.1,9007199254740992,12345678901234567000,\
             5e-324,123.456]",
        );
        check("[1.7976931348623157e308]", "[1.7976931348623157e+308]");
        check("[1e999,-1e999]", "[null,null]");
        // Exactly between two texts of sixteen digits.
        check("[-8863978955447.3125]", "[-8863978955447.312]");
    }

    #[test]
    fn keys_are_ordered_and_doubles_are_joined() {
        check(r#"{"b":1,"10":2,"2":3,"02":4}"#, r#"{"2":3,"10":2,"b":1,"02":4}"#);
        check(r#"{"b":1,"a":2,"b":{"y":[],"x":{}}}"#, r#"{"b":{"y":[],"x":{}},"a":2}"#);
    }

    #[test]
    fn texts_lose_the_escapes_that_nobody_needs() {
        check(r#" "\u00e9\/\u4f60\ud83d\ude00\u0001\b\"" "#, r#""é/你😀\u0001\b\"""#);
        check("[ true,null , false ]", "[true,null,false]");
        assert_eq!(stringify(r#""\ud83d""#), None);
    }
}
