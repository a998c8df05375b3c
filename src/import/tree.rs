//! A configuration as nginx sees it once all files are read: directives in blocks, each with its place.

use std::fmt;
use std::rc::Rc;

use super::error::ReadError;
use super::files::{Files, folder_of, join, matching};
use super::lexer::{Lexer, Statement};
use super::placeholders::Placeholders;

/// Files that include each other deeper than this do so without end.
const DEEPEST_INCLUDE: usize = 16;

/// Blocks are read by recursion.
const DEEPEST_BLOCK: usize = 64;

/// Far beyond what people write; a file that includes itself a few times would be read for ever.
const MOST_DIRECTIVES: usize = 200_000;

/// Blocks whose lines are entries of a table and no directives.
const TABLES: [&str; 5] = ["map", "types", "geo", "split_clients", "charset_map"];

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub(super) file: Rc<str>,
    pub(super) line: usize,
}

/// One directive, with the content of its braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    /// Its number among all directives.
    pub(super) id: usize,
    pub(super) name: String,
    pub(super) args: Vec<String>,
    /// The content of its braces; the entries of a table are included, but have no number of their own.
    pub(super) block: Option<Vec<Self>>,
    pub(super) place: Location,
}

impl Directive {
    /// The argument at `index`, empty if there is none.
    pub(super) fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// The content of its braces.
    pub(super) fn body(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Whether its lines are entries and no directives.
    pub(super) fn is_table(&self) -> bool {
        TABLES.contains(&&*self.name)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// As it could be written, on one line and without its block.
impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for arg in &self.args {
            let needs_quotes = arg.is_empty() || arg.contains([' ', ';', '\t', '\n', '{']);
            let arg: String = arg
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            match needs_quotes && self.name != "if" {
                true => write!(f, " \"{arg}\"")?,
                false => write!(f, " {arg}")?,
            }
        }
        Ok(())
    }
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) directives: Vec<Directive>,
    /// How many directives there are.
    pub(super) count: usize,
    /// Includes that led to nothing, with the reason.
    pub(super) missing: Vec<(usize, String)>,
}

/// Reads the file `main` and everything that it includes.
pub(super) fn read(
    files: &dyn Files,
    main: &str,
    placeholders: &mut Placeholders<'_>,
) -> Result<Tree, ReadError> {
    let mut loader = Loader {
        files,
        folder: folder_of(main).to_owned(),
        placeholders,
        tree: Tree::default(),
    };
    let text = files
        .read(main)
        .map_err(|why| ReadError::whole(main, why))?;
    loader.tree.directives = loader.file(main, &text, 0)?;
    Ok(loader.tree)
}

struct Loader<'a, 'p> {
    files: &'a dyn Files,
    /// Includes are relative to the folder of the main file, whichever file they are in.
    folder: String,
    placeholders: &'a mut Placeholders<'p>,
    tree: Tree,
}

impl Loader<'_, '_> {
    fn file(&mut self, name: &str, text: &str, depth: usize) -> Result<Vec<Directive>, ReadError> {
        let text = self.placeholders.fill(text);
        let mut lexer = Lexer::new(&text);
        let file = Rc::from(name);
        self.block(&mut lexer, &file, (depth, 0))
            .map_err(|error| error.of(name))
    }

    /// The directives up to a closing brace, or the end of the file at its top level.
    fn block(
        &mut self,
        lexer: &mut Lexer<'_>,
        file: &Rc<str>,
        (includes, blocks): (usize, usize),
    ) -> Result<Vec<Directive>, ReadError> {
        let mut directives = Vec::new();
        loop {
            let Some((line, statement)) = lexer.next()? else {
                return match blocks {
                    0 => Ok(directives),
                    _ => Err(ReadError::new(
                        lexer.line(),
                        "a block is never closed: a `}` is missing",
                    )),
                };
            };
            let (words, opens) = match statement {
                Statement::Simple(words) => (words, false),
                Statement::Open(words) => (words, true),
                Statement::Close if blocks > 0 => return Ok(directives),
                Statement::Close => return Err(ReadError::new(line, "a `}` that closes nothing")),
            };
            let mut words = words.into_iter();
            let name = words.next().unwrap_or_default();
            let place = Location {
                file: Rc::clone(file),
                line,
            };
            let mut directive = Directive {
                id: 0,
                name,
                args: words.collect(),
                block: None,
                place,
            };
            self.number(&mut directive)?;
            if opens && directive.name.ends_with("_by_lua_block") {
                lexer.skip_code()?;
                directive.block = Some(Vec::new());
            } else if opens {
                if blocks >= DEEPEST_BLOCK {
                    return Err(ReadError::new(
                        line,
                        format!("blocks are nested deeper than {DEEPEST_BLOCK}"),
                    ));
                }
                let count = self.tree.count;
                directive.block = Some(self.block(lexer, file, (includes, blocks + 1))?);
                if directive.is_table() {
                    self.tree.count = count;
                }
            }
            let include =
                (directive.name == "include" && !opens).then(|| directive.arg(0).to_owned());
            let id = directive.id;
            directives.push(directive);
            if let Some(pattern) = include {
                directives.extend(self.include(id, &pattern, line, includes)?);
            }
        }
    }

    fn number(&mut self, directive: &mut Directive) -> Result<(), ReadError> {
        directive.id = self.tree.count;
        self.tree.count += 1;
        if self.tree.count > MOST_DIRECTIVES {
            let what =
                format!("more than {MOST_DIRECTIVES} directives; does a file include itself?");
            return Err(ReadError::new(directive.place.line, what));
        }
        Ok(())
    }

    fn include(
        &mut self,
        id: usize,
        pattern: &str,
        line: usize,
        depth: usize,
    ) -> Result<Vec<Directive>, ReadError> {
        if depth >= DEEPEST_INCLUDE {
            return Err(ReadError::new(
                line,
                format!(
                    "`{pattern}` is included {DEEPEST_INCLUDE} files deep; does it include itself?"
                ),
            ));
        }
        let path = join(&self.folder, pattern);
        let mut directives = Vec::new();
        for name in matching(self.files, &path) {
            match self.files.read(&name) {
                Ok(text) => directives.extend(self.file(&name, &text, depth + 1)?),
                Err(why) => self
                    .tree
                    .missing
                    .push((id, format!("`{name}` cannot be read: {why}"))),
            }
        }
        Ok(directives)
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::Texts;
    use super::*;

    fn read_all(texts: &[(&str, &str)]) -> Result<Tree, ReadError> {
        let files = Texts::new(
            texts
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned())),
        );
        let nothing = |_: &str| None;
        read(&files, texts[0].0, &mut Placeholders::new(&nothing))
    }

    fn names(directives: &[Directive]) -> Vec<String> {
        let mut names = Vec::new();
        for directive in directives {
            names.push(directive.to_string());
            names.extend(names_of_block(directive));
        }
        names
    }

    fn names_of_block(directive: &Directive) -> Vec<String> {
        let inner = names(directive.body());
        inner.into_iter().map(|name| format!("> {name}")).collect()
    }

    #[test]
    fn includes_are_relative_to_the_main_file_and_globs_are_sorted() {
        let tree = read_all(&[
            (
                "/etc/nginx/nginx.conf",
                "http {\n include conf.d/*.conf;\n}",
            ),
            ("/etc/nginx/conf.d/b.conf", "b;"),
            ("/etc/nginx/conf.d/a.conf", "include snippets/x;"),
            ("/etc/nginx/conf.d/.hidden.conf", "no;"),
            ("/etc/nginx/conf.d/a.txt", "no;"),
            ("/etc/nginx/snippets/x", "x 'y z';"),
        ])
        .unwrap();
        let expected = [
            "http",
            "> include conf.d/*.conf",
            "> include snippets/x",
            "> x \"y z\"",
            "> b",
        ];
        assert_eq!(names(&tree.directives), expected);
        assert_eq!(tree.count, 5);
        let x = &tree.directives[0].body()[2];
        assert_eq!(x.place.to_string(), "/etc/nginx/snippets/x:1");
    }

    #[test]
    fn a_missing_file_is_noted_and_a_glob_without_files_is_not() {
        let tree = read_all(&[("/n.conf", "include a; include b*;")]).unwrap();
        assert_eq!(tree.missing.len(), 1, "{:?}", tree.missing);
    }

    #[test]
    fn files_that_include_themselves_end() {
        let error = read_all(&[("/n.conf", "a; include n.conf;")]).unwrap_err();
        assert!(error.to_string().contains("16 files deep"), "{error}");
        let error = read_all(&[(
            "/n.conf",
            "include n*.conf; include n.conf; include n.conf;",
        )]);
        assert!(error.is_err());
    }

    #[test]
    fn blocks_that_do_not_fit_together_are_mistakes() {
        for (text, expected) in [
            ("a {", "/n:1: a block is never closed: a `}` is missing"),
            ("a;\n}", "/n:2: a `}` that closes nothing"),
        ] {
            assert_eq!(read_all(&[("/n", text)]).unwrap_err().to_string(), expected);
        }
        assert!(read_all(&[("/n", &"a {".repeat(10_000))]).is_err());
    }

    #[test]
    fn the_lines_of_a_table_are_no_directives() {
        let tree = read_all(&[("/n", "map $a $b { x y; default z; }\nc;")]).unwrap();
        assert_eq!(tree.count, 2);
        assert_eq!(tree.directives[0].body().len(), 2);
    }
}
