//! Placeholders of templates, such as `${BACKEND_URL}`, which envsubst or an entrypoint fills in before nginx reads the file. To
//! nginx they are variables that do not exist; they are told from its own by their capitals.

use std::collections::BTreeMap;

/// What is put in the place of placeholders, and what was.
pub(super) struct Placeholders<'a> {
    value: &'a dyn Fn(&str) -> Option<String>,
    /// Each name that was found, and whether there is a value.
    pub(super) found: BTreeMap<String, bool>,
}

impl<'a> Placeholders<'a> {
    /// `value` knows the values by name.
    pub(super) fn new(value: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            value,
            found: BTreeMap::new(),
        }
    }

    /// The text with the values in it. A placeholder without one stays.
    pub(super) fn fill(&mut self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, dollar) = rest.split_at(at);
            filled.push_str(before);
            let Some((name, length)) = placeholder(dollar) else {
                filled.push('$');
                rest = &dollar[1..];
                continue;
            };
            let is_own = text.contains(&format!("set ${name}"));
            let value = if is_own { None } else { (self.value)(name) };
            if !is_own {
                self.found.insert(name.to_owned(), value.is_some());
            }
            filled.push_str(value.as_deref().unwrap_or(&dollar[..length]));
            rest = &dollar[length..];
        }
        filled.push_str(rest);
        filled
    }
}

/// Whether a variable is a placeholder by its name.
pub(super) fn is_placeholder(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_uppercase())
        && bytes.all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The name of the placeholder at the beginning of `text`, which begins with `$`, and the length of it all.
fn placeholder(text: &str) -> Option<(&str, usize)> {
    let braced = text.strip_prefix("${");
    let inner = braced.or_else(|| text.strip_prefix('$'))?;
    let length = inner
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(inner.len());
    let (name, after) = inner.split_at(length);
    let closed = braced.is_none() || after.starts_with('}');
    (closed && is_placeholder(name)).then(|| (name, length + if braced.is_some() { 3 } else { 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_capitals_are_placeholders() {
        let value = |name: &str| (name == "PORT_1").then(|| "8000".to_owned());
        let mut placeholders = Placeholders::new(&value);
        for (text, expected) in [
            ("http://a:${PORT_1}/$uri", "http://a:8000/$uri"),
            ("$PORT_1;", "8000;"),
            (
                "${NO} $NO ${no} $1 $ ${PORT_1",
                "${NO} $NO ${no} $1 $ ${PORT_1",
            ),
            ("set $OWN 1; a $OWN;", "set $OWN 1; a $OWN;"),
        ] {
            assert_eq!(placeholders.fill(text), expected);
        }
        let found: Vec<_> = placeholders.found.into_iter().collect();
        assert_eq!(
            found,
            [("NO".to_owned(), false), ("PORT_1".to_owned(), true)]
        );
    }
}
