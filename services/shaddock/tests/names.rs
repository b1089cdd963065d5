//! What the file does depends on the name that it is called by.

use std::{os::unix::fs::symlink, path::Path, process::Command};

const FILE: &str = env!("CARGO_BIN_EXE_shaddock");

/// Exit code, stdout and stderr of the file, called by this name.
fn call(name: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join(name);
    symlink(FILE, &link).expect("a link");
    let done = Command::new(link).args(args).output().expect("the file runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

/// The names of the links that `deploy/image/files` makes.
fn links() -> Vec<String> {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/image/files");
    let list = std::fs::read_to_string(list).expect("the list");
    let links = list.lines().filter(|line| line.ends_with(" link shaddock"));
    links.map(|line| line.split(['/', ' ']).nth(3).expect("a name").to_owned()).collect()
}

#[test]
fn every_link_of_the_image_is_the_program_of_its_name() {
    let links = links();
    assert_eq!(links.len(), 7, "{links:?}");
    for name in links {
        let (code, out, err) = call(&name, &["--version"]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{name}");
        assert_eq!(out, format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
        // What it says of itself has the name that people typed.
        let (code, _, err) = call(&name, &["--no-such-option"]);
        assert_eq!(code, Some(2), "{name}");
        assert!(err.contains(&name) && !err.contains("shaddock:"), "{err}");
    }
}

#[test]
fn by_another_name_it_says_what_it_is() {
    let (code, out, err) = call("shaddock", &["--version"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.starts_with("shaddock: this is the file of gate, connector, chat, "), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
}
