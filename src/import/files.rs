//! Where the texts of files are from: a disk, or what `nginx -T` printed. Names are absolute, or relative to wherever the reader is.

use std::collections::{BTreeMap, BTreeSet};

/// A place that has files.
pub trait Files {
    /// The text of a file, or why there is none.
    fn read(&self, path: &str) -> Result<String, String>;

    /// The names in a folder, in any order; empty if there is no such folder.
    fn list(&self, folder: &str) -> Vec<String>;
}

/// Files that are already here.
#[derive(Debug, Default)]
pub struct Texts(BTreeMap<String, String>);

impl Texts {
    /// From names and texts.
    pub fn new(texts: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(texts.into_iter().collect())
    }

    /// What `nginx -T` printed, with the name of the main file; `None` if it is something else.
    pub fn from_dump(text: &str) -> Option<(String, Self)> {
        const BEGINS: &str = "# configuration file ";
        let name = |line: &str| {
            let name = line.strip_prefix(BEGINS)?.trim_end().strip_suffix(':')?;
            Some(name.to_owned())
        };
        let mut main = None;
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        let mut current: Option<String> = None;
        for line in text.lines() {
            if let Some(name) = name(line) {
                main.get_or_insert_with(|| name.clone());
                // nginx prints a file once, however often it is included.
                texts.entry(name.clone()).or_default();
                current = Some(name);
            } else if let Some(text) = current.as_ref().and_then(|name| texts.get_mut(name)) {
                text.push_str(line);
                text.push('\n');
            }
        }
        Some((main?, Self(texts)))
    }
}

impl Files for Texts {
    fn read(&self, path: &str) -> Result<String, String> {
        let text = self.0.get(path);
        text.cloned()
            .ok_or_else(|| "it is not among what `nginx -T` printed".to_owned())
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{}/", folder.trim_end_matches('/'));
        let below = self.0.keys().filter_map(|name| name.strip_prefix(&prefix));
        let names: BTreeSet<_> = below.filter_map(|rest| rest.split('/').next()).collect();
        names.into_iter().map(str::to_owned).collect()
    }
}

/// The folder of a file; `.` if its name has none.
pub(super) fn folder_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
        None => ".",
    }
}

/// `path` as seen from `folder`.
pub(super) fn join(folder: &str, path: &str) -> String {
    if path.starts_with('/') || folder == "." {
        return path.to_owned();
    }
    format!("{}/{path}", folder.trim_end_matches('/'))
}

/// The files that a pattern of glob(7) means, sorted as nginx includes them; one without wildcards means itself.
pub(super) fn matching(files: &dyn Files, pattern: &str) -> Vec<String> {
    if !pattern.contains(['*', '?', '[']) {
        return vec![pattern.to_owned()];
    }
    let (mut found, rest) = match pattern.strip_prefix('/') {
        Some(rest) => (vec![String::new()], rest),
        None => (vec![".".to_owned()], pattern),
    };
    for part in rest.split('/') {
        let mut next = Vec::new();
        for folder in &found {
            let here = if folder.is_empty() { "/" } else { folder };
            let path = |name: &str| match folder.as_str() {
                "." => name.to_owned(),
                folder => format!("{folder}/{name}"),
            };
            if part.contains(['*', '?', '[']) {
                let names = files.list(here);
                next.extend(
                    names
                        .iter()
                        .filter(|name| is_match(part, name))
                        .map(|name| path(name)),
                );
            } else {
                next.push(path(part));
            }
        }
        found = next;
    }
    found.sort();
    found
}

/// Whether a name without slashes is meant by a pattern. A dot at the beginning is only meant by a dot.
fn is_match(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    if name.first() == Some(&'.') && pattern.first() != Some(&'.') {
        return false;
    }
    let (mut at, mut seen) = (0, 0);
    // Where to continue after a star that matched one character too few.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        let one = match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, seen));
                at += 1;
                continue;
            }
            Some('?') => Some(at + 1),
            Some('[') => class(&pattern[at..], name[seen]).map(|length| at + length),
            Some('\\') if pattern.get(at + 1) == Some(&name[seen]) => Some(at + 2),
            Some(c) if *c == name[seen] => Some(at + 1),
            _ => None,
        };
        match (one, star) {
            (Some(next), _) => {
                at = next;
                seen += 1;
            }
            (None, Some((after, from))) => {
                at = after;
                seen = from + 1;
                star = Some((after, seen));
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// How long the class is that `pattern` begins with, if it has `c`.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let inverted = matches!(pattern.get(1), Some('!' | '^'));
    let start = 1 + usize::from(inverted);
    let end = start + 1 + pattern.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let members = &pattern[start..end];
    let mut is_in = false;
    let mut index = 0;
    while index < members.len() {
        if let [from, '-', to, ..] = members[index..] {
            is_in |= (from..=to).contains(&c);
            index += 3;
        } else {
            is_in |= members[index] == c;
            index += 1;
        }
    }
    (is_in != inverted).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".a.conf", false),
            (".*", ".a", true),
            ("*", "", true),
            ("a*b*c", "a1b2bc", true),
            ("a*b*c", "a1b2b", false),
            ("?.conf", "a.conf", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]a]", "]", true),
            ("[a", "[a", false),
            ("a\\*", "a*", true),
        ] {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn wildcards_in_folders() {
        let files = Texts::new(
            ["/a/x/1.conf", "/a/y/1.conf", "/a/y/2.conf", "/b/z/1.conf"]
                .map(|name| (name.to_owned(), String::new())),
        );
        assert_eq!(matching(&files, "/a/*/1.*"), ["/a/x/1.conf", "/a/y/1.conf"]);
        assert_eq!(matching(&files, "/no/*.conf"), [""; 0]);
    }

    #[test]
    fn what_nginx_prints() {
        let dump = "nginx: configuration file /e/nginx.conf test is successful\n# configuration file /e/nginx.conf:\na;\n\n# configuration file /e/b:\n# not a configuration file x\nb;\n";
        let (main, texts) = Texts::from_dump(dump).unwrap();
        assert_eq!(main, "/e/nginx.conf");
        assert_eq!(texts.read("/e/nginx.conf").unwrap(), "a;\n\n");
        assert_eq!(
            texts.read("/e/b").unwrap(),
            "# not a configuration file x\nb;\n"
        );
        assert!(texts.read("/e/c").is_err());
        assert!(Texts::from_dump("server { listen 80; }").is_none());
    }

    #[test]
    fn folders() {
        for (path, folder) in [("a", "."), ("/a", "/"), ("/a/b", "/a"), ("a/b", "a")] {
            assert_eq!(folder_of(path), folder);
        }
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join(".", "a"), "a");
        assert_eq!(join("/x", "/a"), "/a");
    }
}
