//! What all manifests have in common is written once, at the root.

use crate::Crate;

const INHERITED: &[&str] = &["version", "edition", "rust-version", "publish"];

/// Complains about each crate that does not inherit from the workspace, each
/// dependency that is not named at the root, and each that is named there in vain.
#[must_use]
pub fn check(root_manifest: &str, crates: &[Crate]) -> Vec<String> {
    let mut complaints = Vec::new();
    for one in crates {
        let lines = lines(&one.manifest);
        for key in INHERITED {
            if !lines.contains(&("package", &*format!("{key}.workspace = true"))) {
                complaints.push(format!("{}: {key} is not the workspace's", one.name));
            }
        }
        if !lines.contains(&("lints", "workspace = true")) {
            complaints.push(format!("{}: its lints are not the workspace's", one.name));
        }
        for (section, line) in lines {
            if section.contains("dependencies") && !is_inherited(section, line) {
                complaints.push(format!("{}: name this at the root: {line}", one.name));
            }
        }
    }
    for (section, line) in lines(root_manifest) {
        let name = line.split([' ', '.', '=']).next().unwrap_or_default();
        let is_used = || crates.iter().any(|one| one.uses.iter().any(|used| used.name == name));
        if section == "workspace.dependencies" && !is_ours(line) && !is_used() {
            complaints.push(format!("no crate uses {name}, which the root names"));
        }
    }
    complaints
}

/// The lines that say something, each with the section it is in.
fn lines(manifest: &str) -> Vec<(&str, &str)> {
    let mut section = "";
    let mut lines = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if !line.is_empty() && !line.starts_with('#') {
            lines.push((section, line));
        }
    }
    lines
}

fn is_inherited(section: &str, line: &str) -> bool {
    // `[dependencies.name]` has one key a line; `[dependencies]` one dependency.
    let is_table = !section.ends_with("dependencies");
    is_table || line.contains(".workspace = true") || line.contains("{ workspace = true")
}

fn is_ours(line: &str) -> bool {
    line.contains("path = ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Use;

    const ROOT: &str = "[workspace.dependencies]\nmodel = { path = \"m\" }\nbytes = \"1\"\n";
    const GOOD: &str = "[package]\nname = \"wire\"\nversion.workspace = true\n\
        edition.workspace = true\nrust-version.workspace = true\n\
        publish.workspace = true\n[lints]\nworkspace = true\n[dependencies]\n\
        bytes.workspace = true\nrand = { workspace = true, optional = true }\n";

    #[track_caller]
    fn check_one(root: &str, manifest: &str, complaints: &[&str]) {
        let bytes = Use { name: "bytes".to_owned(), dev: false, ours: false };
        let one =
            Crate { name: "wire".to_owned(), manifest: manifest.to_owned(), uses: vec![bytes] };
        assert_eq!(check(root, &[one]), complaints);
    }

    #[test]
    fn inheriting_is_fine() {
        check_one(ROOT, GOOD, &[]);
    }

    #[test]
    fn planted_violations_are_found() {
        let own_edition = GOOD.replace("edition.workspace = true", "edition = \"2021\"");
        check_one(ROOT, &own_edition, &["wire: edition is not the workspace's"]);
        let own_lints = GOOD.replace("[lints]\nworkspace = true", "[lints]\nclippy = {}");
        check_one(ROOT, &own_lints, &["wire: its lints are not the workspace's"]);
        let own_version = GOOD.replace("bytes.workspace = true", "bytes = \"1\"");
        check_one(ROOT, &own_version, &["wire: name this at the root: bytes = \"1\""]);
        let dev = format!("{GOOD}[dev-dependencies]\nrand = {{ version = \"9\" }}\n");
        check_one(ROOT, &dev, &["wire: name this at the root: rand = { version = \"9\" }"]);
        let idle = format!("{ROOT}tower.version = \"1\"\n");
        check_one(&idle, GOOD, &["no crate uses tower, which the root names"]);
    }
}
