use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{FileError, FileProblem, NamedText, Part, Place, parse};
use crate::ROUTE_LEN_MAX;
use crate::encode::DEPTH_MAX;
use crate::schema::{NESTING_MAX, Schema};
use crate::tree::{Node, NodeKind};

/// Reads a file of schemas, and refuses what [`Schema::parse`] would drop.
pub(super) fn read(file: NamedText<'_>) -> Result<Schema, FileError> {
    let place = Place { file, parts: Vec::new() };
    let (root, value) = parse(&place)?;
    let NodeKind::Object(members) = &root.kind else {
        return Err(place.error(root.at, FileProblem::NotAnObject));
    };
    let mut check = Check::default();
    for (key, declaration) in members {
        let name = text(key, &place)?;
        let inner = place.inside(Part::Name(name.to_string()));
        if !(1..=ROUTE_LEN_MAX).contains(&name.len()) {
            return Err(inner.error(key.at, FileProblem::RouteLen(name.len())));
        }
        let index = check.message(declaration, inner.clone(), 0)?;
        if check.roots.insert(name.to_string(), index).is_some() {
            return Err(inner.error(key.at, FileProblem::Again(name.to_string())));
        }
    }
    check.types()?;
    Ok(Schema::parse(&value))
}

/// What has been declared so far.
#[derive(Default)]
struct Check<'a> {
    messages: Vec<Message<'a>>,
    roots: BTreeMap<String, usize>,
}

struct Message<'a> {
    place: Place<'a>,
    nested: BTreeMap<String, usize>,
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    key: &'a str,
    at: usize,
    is_required: bool,
    type_name: String,
}

impl<'a> Check<'a> {
    /// Checks one `{…}`, but for what its types mean; returns its index.
    fn message(
        &mut self,
        declaration: &Node<'a>,
        place: Place<'a>,
        depth: usize,
    ) -> Result<usize, FileError> {
        let NodeKind::Object(members) = &declaration.kind else {
            return Err(place.error(declaration.at, FileProblem::NotAnObject));
        };
        let (mut nested, mut fields) = (BTreeMap::new(), Vec::new());
        let (mut names, mut tags) = (BTreeMap::new(), BTreeMap::new());
        for (key, value) in members {
            let words = text(key, &place)?;
            let words: Vec<&str> = words.split(' ').collect();
            let error =
                |problem| place.inside(Part::Value(key.raw.to_owned())).error(key.at, problem);
            match words[..] {
                ["message", name] => {
                    if depth == NESTING_MAX {
                        return Err(error(FileProblem::DeclaredTooDeep(NESTING_MAX)));
                    }
                    let inner = place.inside(Part::Name(format!("message {name}")));
                    let index = self.message(value, inner, depth + 1)?;
                    if nested.insert(name.to_owned(), index).is_some() {
                        return Err(error(FileProblem::Again(format!("message {name}"))));
                    }
                }
                [option, type_name, name] => {
                    let tag = check_field(option, name, value).map_err(error)?;
                    if let Some(by) = tags.insert(tag, name.to_owned()) {
                        return Err(error(FileProblem::TagTaken { tag, by }));
                    }
                    if names.insert(name.to_owned(), ()).is_some() {
                        return Err(error(FileProblem::Again(format!("field {name}"))));
                    }
                    let (is_required, type_name) = (option == "required", type_name.to_owned());
                    fields.push(Field { key: key.raw, at: key.at, is_required, type_name });
                }
                _ => return Err(error(FileProblem::Words(words.len()))),
            }
        }
        self.messages.push(Message { place, nested, fields });
        Ok(self.messages.len() - 1)
    }

    /// Checks that all types exist, and that values of all messages can.
    fn types(&self) -> Result<(), FileError> {
        // Which messages a message cannot be without, and by which field.
        let mut needs = Vec::new();
        for (index, message) in self.messages.iter().enumerate() {
            for field in &message.fields {
                let target = self.resolve(message, field)?;
                if let (Some(target), true) = (target, field.is_required) {
                    needs.push((index, field, target));
                }
            }
        }
        // How many levels a value has at least, found by going round until
        // nothing changes; a message that needs itself grows for ever.
        let mut levels = vec![1; self.messages.len()];
        loop {
            let mut has_changed = false;
            for (index, field, target) in &needs {
                let deeper = levels[*target] + 1;
                if deeper > DEPTH_MAX {
                    let problem = FileProblem::Endless(DEPTH_MAX);
                    return Err(self.messages[*index].error(field, problem));
                }
                has_changed |= deeper > levels[*index];
                levels[*index] = deeper.max(levels[*index]);
            }
            if !has_changed {
                return Ok(());
            }
        }
    }

    /// Returns the message that a field holds, or `None` for simple types.
    fn resolve(
        &self,
        message: &Message<'_>,
        field: &Field<'_>,
    ) -> Result<Option<usize>, FileError> {
        let name = &field.type_name;
        match &name[..] {
            "uInt32" | "int32" | "sInt32" | "float" | "double" | "string" => Ok(None),
            "uInt64" | "sInt64" => {
                Err(message.error(field, FileProblem::NoEncoding(name.to_owned())))
            }
            _ => {
                let root = || self.roots.get(&format!("message {name}"));
                let found = message.nested.get(name).or_else(root).copied();
                let unknown = || message.error(field, FileProblem::UnknownType(name.to_owned()));
                found.map(Some).ok_or_else(unknown)
            }
        }
    }
}

impl Message<'_> {
    fn error(&self, field: &Field<'_>, problem: FileProblem) -> FileError {
        self.place.inside(Part::Value(field.key.to_owned())).error(field.at, problem)
    }
}

/// Checks a field by itself; returns its tag.
fn check_field(option: &str, name: &str, tag: &Node<'_>) -> Result<u32, FileProblem> {
    if !["required", "optional", "repeated"].contains(&option) {
        return Err(FileProblem::UnknownOption(option.to_owned()));
    }
    if ["", "__messages", "__tags"].contains(&name) {
        return Err(FileProblem::Name(name.to_owned()));
    }
    let number = tag.raw.parse().ok().filter(|tag| (1..1 << 29).contains(tag));
    number.ok_or_else(|| FileProblem::Tag(tag.raw.chars().take(80).collect()))
}

/// A key; half a surrogate pair in it is no text.
fn text<'a>(key: &Node<'a>, place: &Place<'_>) -> Result<Cow<'a, str>, FileError> {
    key.text().ok_or_else(|| {
        place.inside(Part::Value(key.raw.to_owned())).error(key.at, FileProblem::NotText)
    })
}
