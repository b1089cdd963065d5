use std::fmt;

use super::NamedText;
use crate::EncodeError;

/// Why a file is refused, and where.
///
/// ```text
/// serverProtos.json:12: onChat: "required strng msg": unknown type strng
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileError {
    /// The name that was given with the text.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The keys that lead to the place, from the outermost, as they are shown.
    pub field: Vec<String>,
    /// What is wrong there.
    pub problem: FileProblem,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        self.field.iter().try_for_each(|part| write!(f, "{part}: "))?;
        self.problem.fmt(f)
    }
}

impl std::error::Error for FileError {}

/// What is wrong in a file of the user.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FileProblem {
    /// The text is not JSON.
    #[error("not json: {0}")]
    Syntax(String),
    /// A dictionary is neither a list nor an object.
    #[error("neither a list of routes nor an object")]
    NotAList,
    /// A route in a dictionary is not a text.
    #[error("route is not a text")]
    NotText,
    /// A route that no message can carry.
    #[error("route has {0} bytes, not 1 to 255")]
    RouteLen(usize),
    /// More routes than there are codes, those of the handlers included.
    #[error("more than 65535 routes")]
    TooManyRoutes,
    /// A file of schemas, or the schema of a message, is of another type.
    #[error("not an object")]
    NotAnObject,
    /// A field that is not `<option> <type> <name>`, between single blanks.
    #[error("{0} words instead of option, type and name")]
    Words(usize),
    /// Neither required nor optional nor repeated.
    #[error("unknown option {0}")]
    UnknownOption(String),
    /// Neither a simple type nor a message in the same message or at the top.
    #[error("unknown type {0}")]
    UnknownType(String),
    /// `uInt64` or `sInt64`, which pomelo-protobuf names but does not write.
    #[error("type {0} has no encoding")]
    NoEncoding(String),
    /// A tag that cannot be written.
    #[error("tag {0} is not a whole number from 1 to 536870911")]
    Tag(String),
    /// A tag that comes again in a message.
    #[error("tag {tag} is taken by {by}")]
    TagTaken {
        /// The tag.
        tag: u32,
        /// The field that had it first.
        by: String,
    },
    /// A route, a message type or a field that comes again.
    #[error("{0} is there already")]
    Again(String),
    /// A name that clients read otherwise: none, `__messages` or `__tags`.
    #[error("name {0:?} is not allowed")]
    Name(String),
    /// Message types declared inside each other without end.
    #[error("declared deeper than {0} levels")]
    DeclaredTooDeep(usize),
    /// A message that holds itself, or too long a chain of others, in required
    /// fields: none could ever be written. Optional ones may, as in a tree.
    #[error("requires itself, or messages more than {0} levels deep")]
    Endless(usize),
    /// The schema of one of the chat's own pushes does not take text.
    #[error("does not take the values of this push: {0}")]
    Push(EncodeError),
    /// A server schema for the answers to a request.
    #[error("schemas of answers are not supported: answers are json")]
    Response,
    /// The files together do not fit a handshake response.
    #[error("handshake of {0} bytes does not fit a package")]
    TooMuch(usize),
}

/// A place in a file, from the outside in.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) file: NamedText<'a>,
    pub(super) parts: Vec<Part>,
}

#[derive(Clone, Debug)]
pub(super) enum Part {
    /// A route or a message type, shown as it is.
    Name(String),
    /// What is wrong itself, as the file writes it.
    Value(String),
}

impl<'a> Place<'a> {
    pub(super) fn inside(&self, part: Part) -> Self {
        Self { file: self.file, parts: self.parts.iter().cloned().chain([part]).collect() }
    }

    /// The error at an offset of the text.
    pub(super) fn error(&self, at: usize, problem: FileProblem) -> FileError {
        let before = &self.file.text.as_bytes()[..at];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        FileError { file: self.file.name.to_owned(), line, field: self.shown(), problem }
    }

    pub(super) fn syntax_error(&self, error: &serde_json::Error) -> FileError {
        // The line is said already; the column is of use where a file is one line.
        let text = error.to_string();
        let what = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
        let problem = FileProblem::Syntax(format!("{what}, column {}", error.column()));
        let line = error.line().max(1);
        FileError { file: self.file.name.to_owned(), line, field: self.shown(), problem }
    }

    fn shown(&self) -> Vec<String> {
        let parts = self.parts.iter().map(|part| match part {
            // A name may be long or hold line ends; neither helps.
            Part::Name(name) => name.escape_debug().take(80).collect(),
            Part::Value(raw) => raw.chars().take(80).collect(),
        });
        parts.collect()
    }
}
