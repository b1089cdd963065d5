//! Files are short, and say nothing about the machine they were written on.

use crate::TextFile;

/// More lines than a reader can hold in mind.
const TOO_LONG: usize = 700;
/// Lines after which one should think of two files.
const LONG: usize = 400;
/// Files that are longer all the same, each with the reason.
const LONG_BY_DESIGN: &[(&str, &str)] = &[];

/// What people write; data and lock files may be as long as they have to.
const WRITTEN: &[&str] = &[
    ".bash", ".cjs", ".css", ".go", ".html", ".js", ".mjs", ".proto", ".py", ".rs", ".sh", ".toml",
    ".tpl", ".yaml", ".yml",
];

/// Complains about each file that is too long.
#[must_use]
pub fn check_lengths(files: &[TextFile]) -> Vec<String> {
    long(files, TOO_LONG)
        .filter(|file| LONG_BY_DESIGN.iter().all(|(path, _)| *path != file.path))
        .map(|file| format!("{}: {} lines are too many", file.path, file.text.lines().count()))
        .collect()
}

/// The files that are becoming too long, each with its lines.
#[must_use]
pub fn lengthy(files: &[TextFile]) -> Vec<String> {
    long(files, LONG)
        .map(|file| format!("{}: {} lines", file.path, file.text.lines().count()))
        .collect()
}

fn long(files: &[TextFile], bound: usize) -> impl Iterator<Item = &TextFile> {
    files.iter().filter(move |file| is_written(file) && file.text.lines().count() > bound)
}

fn is_written(file: &TextFile) -> bool {
    let is_data = file.path.ends_with("pnpm-lock.yaml");
    !is_data
        && (WRITTEN.iter().any(|ending| file.path.ends_with(ending))
            || file.path.ends_with("Makefile")
            || file.text.starts_with("#!"))
}

/// Places that exist only on somebody's machine. Spelled in two parts, so that this
/// file does not complain about itself.
const PLACES: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("/t", "mp/bash"),
    concat!("C:", "\\Users"),
];

/// Package registries and mirrors: which one serves a package is the user's choice.
const HOSTS: &[&str] = &[
    concat!("registry.npm", "js.org"),
    concat!("registry.yarn", "pkg.com"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("proxy.golang", ".org"),
    concat!("deb.debian", ".org"),
    concat!("files.python", "hosted.org"),
    concat!("repo.maven", ".apache.org"),
    concat!("repo1.maven", ".org"),
];

/// Complains about each line that names a place on somebody's machine, or the host
/// of a package registry.
#[must_use]
pub fn check_places(files: &[TextFile]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            let found = PLACES.iter().find(|place| names_place(line, place));
            let found = found.or_else(|| HOSTS.iter().find(|host| line.contains(**host)));
            if let Some(found) = found {
                complaints.push(format!("{}:{}: names {found}", file.path, number + 1));
            }
        }
    }
    complaints
}

/// Whether a path that begins with `place` begins in `line`: a part of a longer path
/// or address does not count.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|char| char.is_alphanumeric() || "._-~*}])>".contains(char))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: impl Into<String>) -> Vec<TextFile> {
        vec![TextFile { path: path.to_owned(), text: text.into() }]
    }

    #[test]
    fn long_files_are_found() {
        let lines = |count| "x\n".repeat(count);
        assert!(check_lengths(&file("a.rs", lines(700))).is_empty());
        assert_eq!(check_lengths(&file("a.rs", lines(701))), ["a.rs: 701 lines are too many"]);
        assert!(check_lengths(&file("vectors.json", lines(701))).is_empty());
        let script = format!("#!/bin/sh\n{}", lines(700));
        assert_eq!(check_lengths(&file("up", script)), ["up: 701 lines are too many"]);
        assert_eq!(lengthy(&file("a.rs", lines(401))), ["a.rs: 401 lines"]);
        assert!(lengthy(&file("a.rs", lines(400))).is_empty());
    }

    #[test]
    fn places_are_found() {
        for place in PLACES {
            let planted = file("a", format!("fine\ncd {place}x"));
            assert_eq!(check_places(&planted), [format!("a:2: names {place}")]);
        }
        for host in HOSTS {
            let planted = file("a", format!("\"https://{host}/x\""));
            assert_eq!(check_places(&planted), [format!("a:1: names {host}")]);
        }
    }

    #[test]
    fn a_part_of_a_path_is_no_place() {
        let part = format!("https://example.org{0}x $DIR{0} ${{DIR}}{0} .{0}", PLACES[2]);
        assert_eq!(check_places(&file("a", part.replacen("$DIR", "DIR", 1))), [""; 0]);
    }
}
