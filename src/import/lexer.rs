//! nginx's words, by the rule of its own reader (`ngx_conf_read_token`), which is simpler than it looks and odder than one thinks:
//!
//! - A word ends at a blank, `;` or `{`. Quotes and `#` mean something only at its beginning, and `}` only where a directive may
//!   begin: `a"b`, `a#b` and `a}b` are words.
//! - A quoted word ends at its quote, over any number of lines; only a blank, `;`, `{` or `)` may follow.
//! - A backslash protects the next character. Before a quote, a backslash, `t`, `r` and `n` it means that character; elsewhere it
//!   stays, also at the end of a line.
//! - `${` is part of a word.

use super::error::ReadError;

/// One statement of a file, as far as its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    /// `name argument;`
    Simple(Vec<String>),
    /// `name argument {`
    Open(Vec<String>),
    /// `}`
    Close,
}

/// Reads statements off a text.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text: text.strip_prefix('\u{feff}').unwrap_or(text),
            at: 0,
            line: 1,
        }
    }

    /// The line that is being read, from 1 on.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The next statement and the line on which it begins, `None` at the end of the text.
    pub(super) fn next(&mut self) -> Result<Option<(usize, Statement)>, ReadError> {
        let mut words: Vec<String> = Vec::new();
        let mut begun = self.line;
        loop {
            self.skip_blanks_and_comments();
            let Some(byte) = self.peek() else {
                return match words.is_empty() {
                    true => Ok(None),
                    false => Err(self.unexpected("the end of the file", "a `;` or `{`")),
                };
            };
            if words.is_empty() {
                begun = self.line;
            }
            match byte {
                b';' | b'{' if words.is_empty() => {
                    let found = format!("`{}`", char::from(byte));
                    return Err(self.unexpected(&found, "the name of a directive"));
                }
                b';' => {
                    self.at += 1;
                    return Ok(Some((begun, Statement::Simple(words))));
                }
                b'{' => {
                    self.at += 1;
                    return Ok(Some((begun, Statement::Open(words))));
                }
                b'}' if words.is_empty() => {
                    self.at += 1;
                    return Ok(Some((begun, Statement::Close)));
                }
                b'}' => return Err(self.unexpected("`}`", "a `;` before it")),
                quote @ (b'"' | b'\'') => words.push(self.quoted(quote)?),
                _ => words.push(self.bare()),
            }
        }
    }

    /// Skips code of another language up to the brace that closes it, which is skipped too.
    pub(super) fn skip_code(&mut self) -> Result<(), ReadError> {
        let mut depth = 1_usize;
        while let Some(byte) = self.take() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b'-' if self.peek() == Some(b'-') => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.take();
                    }
                }
                quote @ (b'"' | b'\'') => {
                    while let Some(byte) = self.take() {
                        if byte == b'\\' {
                            self.take();
                        } else if byte == quote || byte == b'\n' {
                            break;
                        }
                    }
                }
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(self.unexpected("the end of the file", "the `}` of a block of code"))
    }

    fn skip_blanks_and_comments(&mut self) {
        while let Some(byte) = self.peek() {
            if byte == b'#' {
                while self.peek().is_some_and(|byte| byte != b'\n') {
                    self.take();
                }
            } else if is_blank(byte) {
                self.take();
            } else {
                return;
            }
        }
    }

    /// A word up to a blank, `;` or `{`, which is left.
    fn bare(&mut self) -> String {
        let start = self.at;
        let mut after_dollar = false;
        while let Some(byte) = self.peek() {
            match byte {
                b'\\' => {
                    self.take();
                    self.take();
                    after_dollar = false;
                    continue;
                }
                b'{' if after_dollar => {}
                b';' | b'{' => break,
                byte if is_blank(byte) => break,
                _ => {}
            }
            after_dollar = byte == b'$';
            self.take();
        }
        self.word(start, self.at)
    }

    fn quoted(&mut self, quote: u8) -> Result<String, ReadError> {
        let opened = self.line;
        self.take();
        let start = self.at;
        while let Some(byte) = self.take() {
            if byte == b'\\' {
                self.take();
            } else if byte == quote {
                let word = self.word(start, self.at - 1);
                return match self.peek() {
                    // What follows a `)` belongs to the next word, as in `if ("a" = $b)`.
                    None | Some(b';' | b'{' | b')') => Ok(word),
                    Some(byte) if is_blank(byte) => Ok(word),
                    Some(_) => Err(self.unexpected(
                        "a character right behind a closing quote",
                        "a blank, `;` or `{`",
                    )),
                };
            }
        }
        Err(ReadError::new(
            opened,
            format!("the quote `{}` is never closed", char::from(quote)),
        ))
    }

    /// The word between two places, with its escapes resolved.
    fn word(&self, start: usize, end: usize) -> String {
        let raw = self.text.get(start..end).unwrap_or_default();
        let mut word = String::with_capacity(raw.len());
        let mut rest = raw.chars();
        while let Some(c) = rest.next() {
            if c != '\\' {
                word.push(c);
                continue;
            }
            match rest.next() {
                Some(escaped @ ('"' | '\'' | '\\')) => word.push(escaped),
                Some('t') => word.push('\t'),
                Some('r') => word.push('\r'),
                Some('n') => word.push('\n'),
                Some(other) => word.extend(['\\', other]),
                None => word.push('\\'),
            }
        }
        word
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    fn unexpected(&self, found: &str, expected: &str) -> ReadError {
        ReadError::new(self.line, format!("found {found}, expected {expected}"))
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        match Lexer::new(text).next().unwrap().unwrap().1 {
            Statement::Simple(words) | Statement::Open(words) => words,
            Statement::Close => Vec::new(),
        }
    }

    fn error(text: &str) -> String {
        let mut lexer = Lexer::new(text);
        loop {
            match lexer.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no error in {text}"),
                Err(error) => return error.to_string(),
            }
        }
    }

    /// Each was held against nginx 1.22 (`nginx -t`, and what a header said).
    #[test]
    fn words_end_as_in_nginx() {
        for (text, expected) in [
            ("a b;", vec!["a", "b"]),
            ("a\tb\r\nc;", vec!["a", "b", "c"]),
            ("a b\"c\"d e#f g}h;", vec!["a", "b\"c\"d", "e#f", "g}h"]),
            ("a 'b;{}# c' \"d 'e'\";", vec!["a", "b;{}# c", "d 'e'"]),
            ("a 'b\nc';", vec!["a", "b\nc"]),
            (r#"a "b\"c\\d\.e\n";"#, vec!["a", "b\"c\\d\\.e\n"]),
            (r"a \.js\; b\ c;", vec!["a", r"\.js\;", r"b\ c"]),
            ("a ${b}c $d{", vec!["a", "${b}c", "$d"]),
            ("if ($a = 'b') {", vec!["if", "($a", "=", "b", ")"]),
            (
                "server_name a \\\n b;",
                vec!["server_name", "a", "\\\n", "b"],
            ),
            ("a # comment; {\n b;", vec!["a", "b"]),
            ("a '';", vec!["a", ""]),
            ("\u{feff}a \u{e9};", vec!["a", "\u{e9}"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn statements_have_the_line_on_which_they_begin() {
        let mut lexer = Lexer::new("a;\n\n# c\nb\n 'x\ny' {\n}");
        let mut lines = Vec::new();
        while let Some((line, _)) = lexer.next().unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, [1, 4, 7]);
    }

    #[test]
    fn mistakes_have_a_line() {
        for (text, expected) in [
            (
                "a\nb",
                "line 2: found the end of the file, expected a `;` or `{`",
            ),
            (
                "a;\n;",
                "line 2: found `;`, expected the name of a directive",
            ),
            ("a }", "line 1: found `}`, expected a `;` before it"),
            ("a\n 'b", "line 2: the quote `'` is never closed"),
            (
                "a 'b'c;",
                "line 1: found a character right behind a closing quote, expected a blank, `;` or `{`",
            ),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn code_of_another_language_is_skipped() {
        let mut lexer = Lexer::new("x {\n local a = { '}' } -- }\n} y;");
        lexer.next().unwrap();
        lexer.skip_code().unwrap();
        let after = Statement::Simple(vec!["y".to_owned()]);
        assert_eq!(lexer.next().unwrap(), Some((3, after)));
        assert!(Lexer::new("{").skip_code().is_err());
    }
}
