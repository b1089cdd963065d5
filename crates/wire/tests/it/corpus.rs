use std::fs;
use std::path::{Path, PathBuf};

use wire::fuzzing;

use crate::{all_vectors, text, unhex};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 7] = [
    ("package", fuzzing::package),
    ("message", fuzzing::message),
    ("protobuf", fuzzing::protobuf),
    ("handshake", fuzzing::handshake),
    ("tcp", fuzzing::tcp),
    ("signed", fuzzing::signed),
    ("files", fuzzing::files),
];

fn dir(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

#[test]
fn the_fuzz_corpus_passes() {
    for (target, run) in TARGETS {
        let mut files = 0;
        for entry in fs::read_dir(dir(target)).expect("the corpus is part of the repository") {
            let path = entry.expect("a readable directory").path();
            println!("{}", path.display());
            run(&fs::read(&path).expect("a readable file"));
            files += 1;
        }
        assert!(files > 0, "no corpus for {target}");
    }
}

/// Run with `cargo test -p wire --test it -- --ignored` after a change of the
/// vectors; files that fuzzing found are left alone.
#[test]
#[ignore = "writes the seed corpus anew"]
fn write_seed_corpus() {
    let write = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(dir(target)).expect("a writable directory");
        fs::write(dir(target).join(name), bytes).expect("a writable file");
    };
    let messages = [1, 2, 3, 4, 5, 7, 8, 22, 24, 29, 30, 32, 35, 40, 41];
    let bodies = ["PB-03", "PB-06", "PB-08", "PB-09", "PB-12", "PB-13", "PB-18", "PB-20", "PB-23"];
    for vector in all_vectors() {
        let id = text(&vector, "id");
        let bytes = || unhex(text(&vector, "hex"));
        match text(&vector, "layer") {
            "package" if vector.get("hex").is_some() && bytes().len() < 100 => {
                write("package", id, &bytes());
                if ["PKG-14", "PKG-16", "PKG-17"].contains(&id) {
                    write("tcp", id, &[&[0, 1, 4, 0], &bytes()[..]].concat());
                }
            }
            "message" if messages.iter().any(|n| id == format!("MSG-{n:02}")) => {
                write("message", id, &bytes());
            }
            "protobuf" if bodies.contains(&id) => {
                let which = u8::from(id >= "PB-18");
                write("protobuf", id, &[&[which], &bytes()[..]].concat());
            }
            "rsa" => write("signed", id, vector["body"].to_string().as_bytes()),
            "capture" => {
                let (is_gate, mut stream) = (id.ends_with("gate"), Vec::new());
                for frame in vector["frames"].as_array().expect("frames") {
                    if frame["who"] == "alice" && frame["dir"] == "C->S" {
                        stream.extend(unhex(text(frame, "hex")));
                    }
                }
                write("handshake", id, &[&[u8::from(is_gate)], &stream[..]].concat());
                if !is_gate {
                    write("tcp", id, &[&[0, 6, 1, 30], &stream[..]].concat());
                }
            }
            _ => {}
        }
    }
    for (index, body) in crate::signing::bodies().iter().enumerate() {
        write("signed", &format!("body-{index:02}"), &crate::signing::bytes(body));
    }
    for (name, files) in crate::files::SEEDS {
        write("files", name, files);
    }
}
