//! Relative links in Markdown files lead to files that exist, and to headings in them.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Folders with pages of the project's own; what is below `target` or installed for tests is not.
const FOLDERS: [&str; 10] = [
    "",
    "docs",
    "docker",
    "deploy/kubernetes",
    "deploy/systemd",
    "tests/end_to_end",
    "tests/packages",
    "tests/pods",
    "benches",
    "fuzz",
];

pub(crate) fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = FOLDERS
        .iter()
        .filter_map(|folder| fs::read_dir(root.join(folder)).ok());
    let paths = files.flatten().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    pages
}

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// The targets of all links that lead to no other host.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(text) {
        for rest in line.split("](").skip(1) {
            let target = rest.split(')').next().unwrap();
            if !target.contains("://") && !target.starts_with("mailto:") {
                links.push(target.to_owned());
            }
        }
    }
    links
}

/// The anchors that GitHub makes of headings.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for line in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let title = title.trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let times = seen.entry(anchor.clone()).or_insert(0);
        anchors.push(match *times {
            0 => anchor,
            times => format!("{anchor}-{times}"),
        });
        *times += 1;
    }
    anchors
}

/// `path` without `.` and `..`, as it is looked up by name.
fn resolved(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(resolved.pop()),
            other => resolved.push(other),
        }
    }
    resolved
}

/// What is wrong with a link on `page`, if anything is.
fn mistake(page: &Path, target: &str) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = match file {
        "" => page.to_owned(),
        file => resolved(&page.parent().unwrap().join(file)),
    };
    if !file.exists() {
        return Some(format!("{}: no file for {target}", page.display()));
    }
    let is_page = file.extension().is_some_and(|extension| extension == "md");
    if anchor.is_empty() || !is_page {
        return None;
    }
    let has_anchor = anchors(&fs::read_to_string(&file).unwrap()).contains(&anchor.to_owned());
    (!has_anchor).then(|| format!("{}: no heading for {target}", page.display()))
}

#[test]
fn every_relative_link_leads_somewhere() {
    let pages = pages();
    assert!(pages.len() > 10, "{pages:?}");
    let mut mistakes = Vec::new();
    for page in &pages {
        let targets = links(&fs::read_to_string(page).unwrap());
        mistakes.extend(targets.iter().filter_map(|target| mistake(page, target)));
    }
    assert!(mistakes.is_empty(), "{mistakes:#?}");
}

#[test]
fn every_page_of_the_documentation_is_in_its_contents() {
    let contents = include_str!("../../docs/README.md");
    let listed = links(contents);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for page in pages() {
        let name = page.file_name().unwrap().to_str().unwrap();
        if page.parent() == Some(&folder) && name != "README.md" {
            assert!(
                listed.iter().any(|target| target == name),
                "{name} is not listed"
            );
        }
    }
}

#[test]
fn a_broken_link_is_found() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/README.md");
    for (target, is_broken) in [
        ("configuration.md", false),
        ("configuration.md#timeoutsread", false),
        ("../README.md", false),
        ("#documentation", false),
        ("missing.md", true),
        ("configuration.md#missing", true),
        ("#missing", true),
    ] {
        assert_eq!(mistake(&page, target).is_some(), is_broken, "{target}");
    }
    let text = "# One: `two.three` (x)\n## One two\n```\n# no\n[a](b)\n```\n## One two\n[a](c) [d](https://e)";
    assert_eq!(anchors(text), ["one-twothree-x", "one-two", "one-two-1"]);
    assert_eq!(links(text), ["c"]);
}
