//! Regular expressions of locations as paths of routes: plain alternatives become prefixes, and one variable segment becomes `*`.
//! There is no regex engine in the sidecar, so that a route costs the same whatever is sent to it; the rest is left out by name.

use std::iter;

/// A path of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Path {
    /// This path only.
    Exact(String),
    /// This path, and everything below it on segment borders.
    Prefix(String),
}

/// What a regular expression becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) paths: Vec<Path>,
    /// A `*` takes more than its part of the expression did.
    pub(super) is_wider: bool,
    /// A `*` takes one segment where the expression takes several.
    pub(super) is_narrower: bool,
}

/// More alternatives are better written by hand.
const MOST_ALTERNATIVES: usize = 32;

/// One step through a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Char(char),
    /// A part of a segment, or a whole one.
    Segment {
        is_wider: bool,
    },
    /// Anything, over several segments.
    Anything,
    End,
}

/// The paths that an expression means, or why they cannot be said.
pub(super) fn paths(expression: &str) -> Result<Paths, String> {
    let Some(rest) = expression.strip_prefix('^') else {
        return Err(
            "a regular expression that does not begin with `^/` can match anywhere in a path"
                .to_owned(),
        );
    };
    let mut reader = Reader {
        rest,
        depth: 0,
        has_loose_dot: false,
    };
    let alternatives = reader.alternatives()?;
    if !reader.rest.is_empty() {
        return Err("the parentheses of its regular expression do not match".to_owned());
    }
    let mut found = Paths {
        paths: Vec::new(),
        is_wider: false,
        is_narrower: reader.has_loose_dot,
    };
    for steps in alternatives {
        let path = found.path(&steps)?;
        found.paths.push(path);
    }
    found.simplify();
    Ok(found)
}

impl Paths {
    fn path(&mut self, steps: &[Step]) -> Result<Path, String> {
        let odd = || {
            "its regular expression is more than alternatives and whole variable segments"
                .to_owned()
        };
        let (steps, is_exact) = match steps.iter().position(|step| *step == Step::End) {
            Some(end) if end + 1 == steps.len() => (&steps[..end], true),
            Some(_) => return Err(odd()),
            None => (steps, false),
        };
        // What follows does not matter then.
        let (steps, is_exact) = match steps {
            [before @ .., Step::Anything] => (before, false),
            steps => (steps, is_exact),
        };
        let mut path = String::new();
        for (index, step) in steps.iter().enumerate() {
            let is_whole =
                path.ends_with('/') && matches!(steps.get(index + 1), None | Some(Step::Char('/')));
            match step {
                Step::Char(c) if c.is_ascii_graphic() && !"%?#*".contains(*c) => path.push(*c),
                Step::Segment { is_wider } if is_whole => {
                    path.push('*');
                    self.is_wider |= is_wider;
                }
                Step::Anything if is_whole => {
                    path.push('*');
                    self.is_narrower = true;
                }
                Step::Char(_) | Step::Segment { .. } | Step::Anything | Step::End => {
                    return Err(odd());
                }
            }
        }
        if !path.starts_with('/') {
            return Err("its regular expression has no path at its beginning".to_owned());
        }
        if is_exact {
            return Ok(Path::Exact(path));
        }
        while let Some(shorter) = path.trim_end_matches('/').strip_suffix("/*") {
            let length = shorter.len() + 1;
            path.truncate(length);
            self.is_wider = true;
        }
        Ok(Path::Prefix(path))
    }

    /// Leaves out what another path takes anyway.
    fn simplify(&mut self) {
        self.paths.sort_by_key(|path| path.text().len());
        self.paths.dedup();
        let all = self.paths.clone();
        self.paths.retain(|path| {
            !all.iter().any(|other| {
                other != path && other.covers(path) && !(path.covers(other) && path < other)
            })
        });
    }
}

impl Path {
    /// As it is written.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text,
        }
    }

    /// Whether it takes every request that `other` takes, as far as one can see.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(own), Self::Exact(other)) => own == other,
            (Self::Exact(_), Self::Prefix(_)) => false,
            (Self::Prefix(own), Self::Exact(other) | Self::Prefix(other)) => {
                let rest = other.strip_prefix(own.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
    /// A `.` that was probably meant as itself, and is taken so.
    has_loose_dot: bool,
}

type Alternatives = Vec<Vec<Step>>;

impl Reader<'_> {
    /// As far as a closing parenthesis, or the end.
    fn alternatives(&mut self) -> Result<Alternatives, String> {
        self.depth += 1;
        if self.depth > 16 {
            return Err("its regular expression is nested too deep".to_owned());
        }
        let mut all = Vec::new();
        let mut current: Alternatives = vec![Vec::new()];
        while let Some(c) = self.rest.chars().next() {
            if c == ')' {
                break;
            }
            if c == '|' {
                self.rest = &self.rest[1..];
                all.append(&mut current);
                current.push(Vec::new());
                continue;
            }
            let item = self.item()?;
            current = product(&current, &item)?;
        }
        all.append(&mut current);
        self.depth -= 1;
        if all.len() > MOST_ALTERNATIVES {
            return Err(too_many());
        }
        Ok(all)
    }

    /// One character, class or group with its quantifier.
    fn item(&mut self) -> Result<Alternatives, String> {
        let unknown = |what: &str| format!("`{what}` in its regular expression");
        let mut chars = self.rest.chars();
        let first = chars.next().unwrap_or_default();
        let mut item: Alternatives = match first {
            '(' => {
                self.rest = chars.as_str();
                if let Some(rest) = self.rest.strip_prefix("?:") {
                    self.rest = rest;
                } else if self.rest.starts_with("?<")
                    && !self.rest.starts_with("?<=")
                    && !self.rest.starts_with("?<!")
                {
                    let name = self.rest.find('>').ok_or_else(|| unknown("(?<"))?;
                    self.rest = &self.rest[name + 1..];
                } else if self.rest.starts_with('?') {
                    return Err(unknown("(?"));
                }
                let inner = self.alternatives()?;
                self.rest = self
                    .rest
                    .strip_prefix(')')
                    .ok_or("the parentheses of its regular expression do not match")?;
                inner
            }
            '[' => {
                let end = self.rest[1..]
                    .char_indices()
                    .skip(1)
                    .find(|(_, c)| *c == ']');
                let end = end.map(|(at, _)| at + 1).ok_or_else(|| unknown("["))?;
                let class = &self.rest[1..end];
                self.rest = &self.rest[end + 1..];
                return self.repeated_class(class == "^/" || class == "^\\/", class);
            }
            '\\' => {
                let escaped = chars.next().unwrap_or_default();
                self.rest = chars.as_str();
                match escaped {
                    'd' | 'w' => {
                        return self
                            .repeated_class(false, if escaped == 'd' { "0-9" } else { "\\w" });
                    }
                    c if c.is_ascii_alphanumeric() => return Err(unknown(&format!("\\{c}"))),
                    c => vec![vec![Step::Char(c)]],
                }
            }
            '.' => {
                self.rest = chars.as_str();
                return match self.rest.strip_prefix(['*', '+']) {
                    Some(rest) => {
                        self.rest = rest.strip_prefix('?').unwrap_or(rest);
                        Ok(vec![vec![Step::Anything]])
                    }
                    None => {
                        self.has_loose_dot = true;
                        Ok(vec![vec![Step::Char('.')]])
                    }
                };
            }
            '$' => {
                self.rest = chars.as_str();
                vec![vec![Step::End]]
            }
            '*' | '+' | '?' | '{' | '^' => return Err(unknown(&first.to_string())),
            c => {
                self.rest = chars.as_str();
                vec![vec![Step::Char(c)]]
            }
        };
        if let Some(rest) = self.rest.strip_prefix('?') {
            self.rest = rest;
            item.push(Vec::new());
        } else if self.rest.starts_with(['*', '+', '{']) {
            return Err(unknown(&self.rest[..1]));
        }
        Ok(item)
    }

    /// Characters of a class, of which there must be any number.
    fn repeated_class(&mut self, is_any: bool, class: &str) -> Result<Alternatives, String> {
        let after = if let Some(rest) = self.rest.strip_prefix(['+', '*']) {
            rest
        } else if self.rest.starts_with('{') {
            self.rest.split_once('}').map_or("", |(_, rest)| rest)
        } else if let [first, '-', last] = class.chars().collect::<Vec<_>>()[..] {
            // Such as `v[1-3]`.
            let all: Alternatives = (first..=last)
                .take(MOST_ALTERNATIVES + 1)
                .map(|c| vec![Step::Char(c)])
                .collect();
            return Ok(all);
        } else {
            return Err(format!("`[{class}]` in its regular expression"));
        };
        let can_be_slash = !is_any && (class.starts_with('^') || class.contains('/'));
        if can_be_slash {
            return Err(format!("`[{class}]` in its regular expression"));
        }
        self.rest = after;
        Ok(vec![vec![Step::Segment { is_wider: !is_any }]])
    }
}

/// Every beginning with every continuation.
fn product(before: &Alternatives, after: &Alternatives) -> Result<Alternatives, String> {
    if before.len() * after.len() > MOST_ALTERNATIVES {
        return Err(too_many());
    }
    let joined = before
        .iter()
        .flat_map(|before| iter::repeat(before).zip(after));
    Ok(joined
        .map(|(before, after)| [before.as_slice(), after.as_slice()].concat())
        .collect())
}

fn too_many() -> String {
    format!("its regular expression has more than {MOST_ALTERNATIVES} alternatives")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Written as `=path` or `path`.
    fn shown(expression: &str) -> Result<Vec<String>, String> {
        let text = |path: &Path| match path {
            Path::Exact(text) => format!("={text}"),
            Path::Prefix(text) => text.clone(),
        };
        paths(expression).map(|found| found.paths.iter().map(text).collect())
    }

    #[test]
    fn alternatives_become_prefixes() {
        for (expression, expected) in [
            ("^/(v1|api)", vec!["/v1", "/api"]),
            ("^/api/v1/admin", vec!["/api/v1/admin"]),
            (
                "^/(api|v[1-3]|admin)(/|$)",
                vec!["/v1/", "/v2/", "/v3/", "/api/", "/admin/"],
            ),
            (
                "^/(api|openapi.json)(/.*)?$",
                vec!["/api/", "/openapi.json/"],
            ),
            ("^(/workspace)?/api(/|$)", vec!["/api/", "/workspace/api/"]),
            ("^/(?:a|b/(c|d))$", vec!["=/a", "=/b/c", "=/b/d"]),
            ("^/api/v1/events/", vec!["/api/v1/events/"]),
            ("^/x/?$", vec!["=/x", "=/x/"]),
            ("^/a/(.*)$", vec!["/a/"]),
            ("^/a\\.b", vec!["/a.b"]),
        ] {
            assert_eq!(
                shown(expression).as_deref(),
                Ok(&*expected.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()),
                "{expression}"
            );
        }
    }

    #[test]
    fn a_variable_segment_becomes_a_star() {
        for (expression, expected, wider, narrower) in [
            ("^/jobs/[^/]+/events$", "=/jobs/*/events", false, false),
            ("^/jobs/\\d+/events", "/jobs/*/events", true, false),
            (
                "^/api/dialogs/[0-9]+/events$",
                "=/api/dialogs/*/events",
                true,
                false,
            ),
            ("^/servers/.*/sse$", "=/servers/*/sse", false, true),
            ("^/j/(?<id>[a-z0-9-]+)/e", "/j/*/e", true, false),
            ("^/j/[0-9a-f]{32}$", "=/j/*", true, false),
            ("^/j/[^/]+", "/j/", true, false),
        ] {
            let found = paths(expression).unwrap();
            assert_eq!(shown(expression).unwrap(), [expected], "{expression}");
            assert_eq!(
                (found.is_wider, found.is_narrower),
                (wider, narrower),
                "{expression}"
            );
        }
    }

    #[test]
    fn the_rest_is_said_by_name() {
        for (expression, why) in [
            ("\\.php$", "does not begin with `^/`"),
            ("/api", "does not begin with `^/`"),
            ("^/(?!api)", "`(?`"),
            ("^/a+", "`+`"),
            ("^/job-[0-9]+/x", "whole variable segments"),
            ("^/a$b", "whole variable segments"),
            ("^/(a", "parentheses"),
            ("^/a)", "parentheses"),
            ("^/[", "`[`"),
            ("^api", "no path"),
            ("^/(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)", "more than 32"),
            ("^/x[^a]+/", "`[^a]`"),
        ] {
            let error = shown(expression).unwrap_err();
            assert!(error.contains(why), "{expression}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_expression_makes_it_panic(expression in "\\^?(/|a|\\(|\\)|\\[|\\]|\\||\\?|\\*|\\+|\\.|\\\\|\\{|\\}|<|>|-|\\$|\u{e9}|:){0,24}") {
            if let Ok(found) = paths(&expression) {
                prop_assert!(found.paths.iter().all(|path| path.text().starts_with('/')));
            }
        }
    }
}
