//! `root`, `alias` and `try_files`: folders that a route serves.

use super::super::inherit::effective;
use super::super::pattern::Path;
use super::super::route::{Key, Route};
use super::super::toml::Toml;
use super::super::tree::Directive;
use super::{Context, Converter};

impl<'a> Converter<'a> {
    /// Sets the folder that a route serves, or says why not. A `try_files` may lead to a named location instead.
    pub(super) fn files(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
        path: &Path,
    ) -> Result<(), String> {
        let levels = context.levels();
        let own = levels.last().copied().unwrap_or_default();
        let tries = own.iter().find(|directive| directive.name == "try_files");
        if let Some(name) = tries.and_then(|tries| tries.args.last()?.strip_prefix('@')) {
            return self.named(route, context, tries, name);
        }
        let alias = own.iter().find(|directive| directive.name == "alias");
        let folder = alias.or_else(|| effective(levels, "root"));
        let folder =
            folder.ok_or("it has no content of its own: nginx serves its default folder there")?;
        let value = context.scope().value(folder.arg(0));
        let name = value
            .literal()
            .ok_or_else(|| format!("its folder depends on the request (`{}`)", folder.arg(0)))?;
        let name = self.path(name);
        let name = trimmed(&name);
        let matched = path.text().trim_end_matches('/');
        // A route's files are at what follows its `path`, or at the whole of a `path_exact`.
        let root = match (alias.is_some(), path) {
            (_, Path::Prefix(path)) if path.contains('*') => {
                return Err("a folder for each of several paths is more than `files` serves".to_owned());
            }
            (true, Path::Prefix(_)) | (false, Path::Exact(_)) => name.to_owned(),
            (false, Path::Prefix(_)) => format!("{}{matched}", name.trim_end_matches('/')),
            (true, Path::Exact(_)) => match name.strip_suffix(matched) {
                Some(root) => trimmed(root).to_owned(),
                None => return Err("`files` serves a file under its own name: write a route with the `path` of a folder".to_owned()),
            },
        };
        let mut table = vec![("root".to_owned(), Toml::from(trimmed(&root)))];
        if let Some(tries) = tries {
            let prefix = match path {
                Path::Prefix(_) => matched,
                Path::Exact(_) => "",
            };
            match fallback(tries, prefix) {
                Ok(Some(fallback)) => {
                    table.push(("fallback".to_owned(), fallback.into()));
                    self.report.note("`fallback` is served where a page is requested; a missing script or image is a 404");
                }
                Ok(None) => {}
                Err(why) => {
                    self.report.left_out(tries, why.clone());
                    return Err(why);
                }
            }
            self.report.kept(tries);
        }
        self.report.kept(folder);
        route.set(Key::Files, Toml::Table(table), self.at(folder));
        if let Some(index) = effective(levels, "index") {
            match index.args.iter().any(|name| name == "index.html") {
                true => self
                    .report
                    .implied(index, "index.html is the index of a folder"),
                false => self
                    .report
                    .left_out(index, "the index of a folder is index.html, and no other"),
            }
        }
        if let Some(listing) =
            effective(levels, "autoindex").filter(|directive| directive.arg(0) == "on")
        {
            self.report.left_out(listing, "folders are not listed");
        }
        Ok(())
    }

    /// A `try_files` that ends in a named location: the backend there gets all requests.
    fn named(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
        tries: Option<&'a Directive>,
        name: &str,
    ) -> Result<(), String> {
        let named = context.server.named.iter().find(|location| {
            location
                .directive
                .is_some_and(|directive| directive.arg(0).strip_prefix('@') == Some(name))
        });
        let named = named.ok_or_else(|| format!("there is no `@{name}`"))?;
        if let Some(directive) = named.directive {
            self.report.kept(directive);
        }
        if let Some(tries) = tries.filter(|tries| tries.args.len() > 1) {
            self.report.left_out(tries, format!("files come before the backend of `@{name}` in nginx; here the backend gets every request. Write a route with `files` for the folders that hold them, before this one"));
        }
        let place = Context {
            location: named,
            ..context.clone()
        };
        self.proxied(route, &place)
    }
}

/// The fallback file, relative to the root of a route for paths below `prefix`.
fn fallback(tries: &Directive, prefix: &str) -> Result<Option<String>, String> {
    let Some((last, before)) = tries.args.split_last() else {
        return Ok(None);
    };
    let usual = ["$uri", "$uri/", "$uri/index.html", "$request_uri"];
    if let Some(odd) = before.iter().find(|arg| !usual.contains(&arg.as_str())) {
        return Err(format!(
            "`files` looks for the path itself, and not for `{odd}`: name such files in full, or with a `fallback`"
        ));
    }
    if last == "=404" || usual.contains(&last.as_str()) {
        return Ok(None);
    }
    let file = last.split('?').next().unwrap_or_default();
    let below = file
        .strip_prefix(prefix)
        .and_then(|below| below.strip_prefix('/'));
    let is_file = |file: &&str| {
        !file.is_empty()
            && !file.contains('$')
            && !file.ends_with('/')
            && file.rsplit('.').next() != Some("php")
    };
    match below.filter(is_file) {
        Some(file) => Ok(Some(file.to_owned())),
        None => Err(format!(
            "`{last}` is no file below the folder of the route, as a `fallback` has to be"
        )),
    }
}

fn trimmed(folder: &str) -> &str {
    match folder.trim_end_matches('/') {
        "" => "/",
        folder => folder,
    }
}
