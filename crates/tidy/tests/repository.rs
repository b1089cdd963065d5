//! Holds the rules against this repository.

use std::sync::LazyLock;

use tidy::{Repository, files, floors, manifests};

static REPOSITORY: LazyLock<Repository> = LazyLock::new(Repository::read);

#[track_caller]
fn nothing(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn dependencies_point_down() {
    nothing(&floors::check(&REPOSITORY.crates));
}

#[test]
fn manifests_inherit() {
    nothing(&manifests::check(&REPOSITORY.root_manifest, &REPOSITORY.crates));
}

#[test]
fn files_are_short() {
    for file in files::lengthy(&REPOSITORY.files) {
        println!("getting long: {file}");
    }
    nothing(&files::check_lengths(&REPOSITORY.files));
}

#[test]
fn files_name_no_place() {
    nothing(&files::check_places(&REPOSITORY.files));
}
