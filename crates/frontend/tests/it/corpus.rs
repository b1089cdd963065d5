//! What fuzzing starts from, and what it once found.

use std::{fs, path::Path};

#[test]
fn the_fuzz_corpus_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/upgrade");
    let mut files = 0;
    for entry in fs::read_dir(corpus).expect("the corpus is part of the repository") {
        let path = entry.expect("a readable directory").path();
        println!("{}", path.display());
        frontend::fuzzing::upgrade(&fs::read(&path).expect("a readable file"));
        files += 1;
    }
    assert!(files > 10, "the corpus is not there");
}
