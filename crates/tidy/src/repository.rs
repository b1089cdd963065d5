use std::{fs, path::Path, process::Command};

use serde_json::Value;

/// What the rules are about.
#[derive(Clone, Debug)]
pub struct Repository {
    /// The members of the workspace.
    pub crates: Vec<Crate>,
    /// The text of the workspace's manifest.
    pub root_manifest: String,
    /// All files that git tracks or would track, and that are text.
    pub files: Vec<TextFile>,
}

/// One member of the workspace.
#[derive(Clone, Debug)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// The text of its manifest.
    pub manifest: String,
    /// What its manifest depends on.
    pub uses: Vec<Use>,
}

/// One dependency, as a manifest names it.
#[derive(Clone, Debug)]
pub struct Use {
    /// The crate that is used.
    pub name: String,
    /// Whether only tests, examples and benches use it.
    pub dev: bool,
    /// Whether it lies in this repository.
    pub ours: bool,
}

/// One text file.
#[derive(Clone, Debug)]
pub struct TextFile {
    /// Its path from the root of the repository.
    pub path: String,
    /// What is in it.
    pub text: String,
}

impl Repository {
    /// Reads the repository that this crate lies in.
    ///
    /// # Panics
    ///
    /// If cargo or git fail, or say something that this version does not understand:
    /// rules that looked at nothing would always hold.
    #[must_use]
    pub fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let metadata = metadata(&root);
        let crates = list(&metadata["packages"]).iter().map(a_crate);
        Self {
            crates: crates.collect(),
            root_manifest: read(&root.join("Cargo.toml")),
            files: files(&root),
        }
    }
}

fn metadata(root: &Path) -> Value {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version=1", "--no-deps", "--locked", "--offline"]);
    let answer = output(command.current_dir(root));
    serde_json::from_slice(&answer).expect("cargo metadata speaks JSON")
}

fn a_crate(package: &Value) -> Crate {
    let uses = list(&package["dependencies"]).iter().map(|dependency| Use {
        name: text(&dependency["name"]).to_owned(),
        dev: dependency["kind"] == "dev",
        ours: dependency.get("path").is_some(),
    });
    Crate {
        name: text(&package["name"]).to_owned(),
        manifest: read(Path::new(text(&package["manifest_path"]))),
        uses: uses.collect(),
    }
}

fn files(root: &Path) -> Vec<TextFile> {
    let mut command = Command::new("git");
    command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = output(command.current_dir(root));
    let listed = String::from_utf8(listed).expect("paths are UTF-8");
    let mut files = Vec::new();
    for path in listed.split_terminator('\0') {
        // A file that git knows may have been deleted; one that is not text has no lines.
        if let Ok(text) = fs::read_to_string(root.join(path)) {
            files.push(TextFile { path: path.to_owned(), text });
        }
    }
    assert!(!files.is_empty(), "git lists no file");
    files
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    output.stdout
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata has a list here")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo metadata has a text here")
}
