//! What fuzzing starts from, and what it once found; and some of it at random.

use std::{fs, path::Path};

use proptest::prelude::*;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 2] =
    [("upgrade", frontend::fuzzing::upgrade), ("frames", frontend::fuzzing::frames)];

#[test]
fn the_fuzz_corpus_passes() {
    for (target, run) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut files = 0;
        for entry in fs::read_dir(corpus).expect("the corpus is part of the repository") {
            let path = entry.expect("a readable directory").path();
            println!("{}", path.display());
            run(&fs::read(&path).expect("a readable file"));
            files += 1;
        }
        assert!(files > 10, "the corpus of {target} is not there");
    }
}

/// A client's frame: mostly one that may be sent, of any length.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first =
        prop::sample::select(vec![0x82, 0x82, 0x81, 0x02, 0x00, 0x80, 0x80, 0x89, 0x8a, 0x88]);
    let len = prop_oneof![4 => 0..126_usize, 2 => 126..300_usize, 1 => 4_000..9_000_usize];
    (first, len, any::<[u8; 4]>()).prop_map(|(first, len, mask)| {
        let mut bytes = match u8::try_from(len) {
            Ok(short) if short < 126 => vec![first, 0x80 | short],
            _ => vec![first, 0x80 | 126, (len >> 8) as u8, len as u8],
        };
        bytes.extend(mask);
        bytes.extend(mask.iter().cycle().take(len).map(|mask| mask ^ b'x'));
        bytes
    })
}

proptest! {
    #[test]
    fn frames_at_random_are_the_same_however_they_are_cut_up(
        rest: u8,
        // Byte by byte, every end of a frame is the end of a read, too.
        size in prop_oneof![Just(0), any::<u8>()],
        frames in prop::collection::vec(any_frame(), 0..8),
    ) {
        frontend::fuzzing::frames(&[&[rest, size], &frames.concat()[..]].concat());
    }
}
