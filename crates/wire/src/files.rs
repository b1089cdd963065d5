use std::num::NonZeroU16;

use serde_json::Value;

use crate::named::{HANDLERS, parts};
use crate::tree::{Node, NodeKind};
use crate::{
    Dictionary, Profile, ProfileError, ProfileName, Protos, ROUTE_LEN_MAX, Schema, Side, TooLong,
};

mod error;
mod protos;

pub use error::{FileError, FileProblem};
use error::{Part, Place};

/// A text with the name of its file, which errors repeat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NamedText<'a> {
    /// The name, or the path.
    pub name: &'a str,
    /// What is in the file.
    pub text: &'a str,
}

/// A user's own files, in Pomelo's format. Those that are `None` are as the
/// profile has them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ProfileFiles<'a> {
    /// `dictionary.json`: a list of routes, which get the codes after those of
    /// the handlers. An object adds none, as in the original.
    pub dictionary: Option<NamedText<'a>>,
    /// `clientProtos.json`: schemas of requests and notifies.
    pub client_protos: Option<NamedText<'a>>,
    /// `serverProtos.json`: schemas of pushes.
    pub server_protos: Option<NamedText<'a>>,
}

impl Profile {
    /// A [named profile](Profile::named) with files of the user in place of
    /// those of the branch.
    ///
    /// A file that is given is used on either side: route codes are on with a
    /// dictionary and protobuf is on with schemas, also where the branch has
    /// them off. `starter` with any file is nothing but what the files say, so
    /// that with a dictionary alone it is the branch `tutorial-dict`. The
    /// versions are those of pomelo 2.2.7 for the same files.
    ///
    /// A deliberate difference: the original drops what it does not understand
    /// in silence; we refuse the file where an entry is surely a mistake.
    ///
    /// # Errors
    ///
    /// [`FileError`], which says where and what.
    pub fn from_files(
        base: ProfileName,
        side: Side,
        heartbeat_secs: u16,
        files: &ProfileFiles<'_>,
    ) -> Result<Self, FileError> {
        let has_files = *files != ProfileFiles::default();
        let (mut dictionary, mut protos) = match base {
            ProfileName::Starter if has_files => (None, None),
            _ => parts(base, side),
        };
        if let Some(file) = files.dictionary {
            dictionary = Some(read_dictionary(file)?);
        }
        if files.client_protos.or(files.server_protos).is_some() {
            let base = protos.take();
            let schema = |file: Option<NamedText<'_>>, of_base: fn(&Protos) -> &Schema| match file {
                Some(file) => protos::read(file),
                None => Ok(base.as_ref().map(of_base).cloned().unwrap_or_default()),
            };
            let server = schema(files.server_protos, Protos::server)?;
            protos = Some(Protos::new(server, schema(files.client_protos, Protos::client)?));
        }
        Self::new(NonZeroU16::new(heartbeat_secs), dictionary, protos)
            .map_err(|error| refused(error, files))
    }
}

/// Finds the place in a file that makes a profile impossible.
fn refused(error: ProfileError, files: &ProfileFiles<'_>) -> FileError {
    let in_server_protos = |route: &str, problem| {
        let file = files.server_protos.expect("the branch's own schemas are right");
        let root = Node::parse(file.text).expect("it was read before");
        let NodeKind::Object(members) = &root.kind else { unreachable!("it was read before") };
        let entry = members.iter().find(|(key, _)| key.text().is_some_and(|key| key == route));
        let at = entry.map_or(0, |(key, _)| key.at);
        Place { file, parts: vec![Part::Name(route.to_owned())] }.error(at, problem)
    };
    match error {
        ProfileError::Push { route, source } => in_server_protos(route, FileProblem::Push(source)),
        ProfileError::Response(route) => in_server_protos(&route, FileProblem::Response),
        ProfileError::Handshake(TooLong::Body(len) | TooLong::Route(len)) => {
            let mut given =
                [files.dictionary, files.client_protos, files.server_protos].into_iter().flatten();
            // The longest is the most to blame.
            let longest = given.next().map(|first| {
                given.fold(first, |a, b| if b.text.len() > a.text.len() { b } else { a })
            });
            let file = longest.expect("the branch's own files fit");
            Place { file, parts: Vec::new() }.error(0, FileProblem::TooMuch(len))
        }
    }
}

fn read_dictionary(file: NamedText<'_>) -> Result<Dictionary, FileError> {
    let place = Place { file, parts: Vec::new() };
    let (root, _) = parse(&place)?;
    let entries = match &root.kind {
        NodeKind::Array(entries) => &entries[..],
        NodeKind::Object(_) => &[],
        NodeKind::Plain | NodeKind::Text => return Err(place.error(root.at, FileProblem::NotAList)),
    };
    let mut routes = Vec::with_capacity(entries.len());
    for entry in entries {
        let place = place.inside(Part::Value(entry.raw.to_owned()));
        let route = entry.text().ok_or_else(|| place.error(entry.at, FileProblem::NotText))?;
        if !(1..=ROUTE_LEN_MAX).contains(&route.len()) {
            return Err(place.error(entry.at, FileProblem::RouteLen(route.len())));
        }
        if HANDLERS.len() + routes.len() == usize::from(u16::MAX) {
            return Err(place.error(entry.at, FileProblem::TooManyRoutes));
        }
        routes.push(route);
    }
    let routes: Vec<&str> = routes.iter().map(|route| &**route).collect();
    Ok(Dictionary::new(&HANDLERS, &routes))
}

/// Reads a file as JSON, in two forms: with places, and as a value.
fn parse<'a>(place: &Place<'a>) -> Result<(Node<'a>, Value), FileError> {
    let text = place.file.text;
    let value = serde_json::from_str(text).map_err(|error| place.syntax_error(&error))?;
    Ok((Node::parse(text).expect("serde_json takes it"), value))
}
