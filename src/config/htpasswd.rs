//! A file of users, as `htpasswd -B` writes it: `name:$2y$05$…`, one a line. Other hashes are refused: they can be tried by the
//! billion a second.

use std::collections::HashSet;

/// A user, and the hash of the password.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    /// Without a colon.
    pub name: String,
    /// As bcrypt writes it.
    pub hash: String,
}

/// An error in a file of users, without the content of the line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum HtpasswdError {
    #[error("names no user")]
    Empty,
    #[error("line {0}: there is no `name:hash`")]
    NoUser(usize),
    #[error("line {0}: the password is not hashed with bcrypt")]
    Hash(usize),
    #[error("line {0}: the cost of this hash makes each login take seconds")]
    Cost(usize),
    #[error("line {0}: this name occurs twice")]
    Twice(usize),
}

impl HtpasswdError {
    /// What to do.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Empty => "add a user with `htpasswd -B FILE NAME`",
            Self::NoUser(_) => "write one user a line, as `htpasswd -B` does",
            Self::Hash(_) => "set it anew with `htpasswd -B FILE NAME`",
            Self::Cost(_) => "set it anew with a cost of 10 to 12: `htpasswd -B -C 10 FILE NAME`",
            Self::Twice(_) => "leave out one of the two",
        }
    }
}

/// A login takes about 50 ms at a cost of 10, and twice that for each above.
const MOST_COST: u8 = 14;
/// The least that bcrypt has.
const LEAST_COST: u8 = 4;

/// The users of a file. Lines that are empty or begin with `#` count for nothing.
pub fn htpasswd(text: &str) -> Result<Vec<User>, HtpasswdError> {
    let mut users: Vec<User> = Vec::new();
    let mut names = HashSet::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, hash) = line
            .split_once(':')
            .filter(|(name, _)| !name.is_empty())
            .ok_or(HtpasswdError::NoUser(number))?;
        let cost = cost(hash).ok_or(HtpasswdError::Hash(number))?;
        if cost > MOST_COST {
            return Err(HtpasswdError::Cost(number));
        }
        if !names.insert(name) {
            return Err(HtpasswdError::Twice(number));
        }
        users.push(User {
            name: name.to_owned(),
            hash: hash.to_owned(),
        });
    }
    if users.is_empty() {
        return Err(HtpasswdError::Empty);
    }
    Ok(users)
}

/// The cost of `$2y$05$` and 53 characters of bcrypt's own alphabet; `None` for anything else.
fn cost(hash: &str) -> Option<u8> {
    let rest = ["$2y$", "$2b$", "$2a$"]
        .iter()
        .find_map(|version| hash.strip_prefix(version))?;
    let (cost, rest) = rest.split_once('$')?;
    let is_cost = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"./".contains(&byte);
    let is_hash = rest.len() == 53 && rest.bytes().all(is_known);
    let cost = cost.parse().ok()?;
    (is_cost && is_hash && cost >= LEAST_COST).then_some(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";

    #[test]
    fn users_are_read() {
        let text = format!(
            "# staff\n\nann:{HASH}\r\n bob:{}\n",
            HASH.replace("2y", "2b")
        );
        let users = htpasswd(&text).unwrap();
        let names: Vec<_> = users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["ann", "bob"]);
        assert_eq!(users[0].hash, HASH);
    }

    #[test]
    fn what_is_no_user_is_refused_by_its_line() {
        for (text, expected) in [
            ("", HtpasswdError::Empty),
            ("# nobody", HtpasswdError::Empty),
            ("ann", HtpasswdError::NoUser(1)),
            (&format!(":{HASH}"), HtpasswdError::NoUser(1)),
            ("ann:", HtpasswdError::Hash(1)),
            ("\nann:secret", HtpasswdError::Hash(2)),
            (
                "ann:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/",
                HtpasswdError::Hash(1),
            ),
            (
                "ann:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=",
                HtpasswdError::Hash(1),
            ),
            (&format!("ann:{}", &HASH[..59]), HtpasswdError::Hash(1)),
            (
                &format!("ann:{}", HASH.replace("$05$", "$03$")),
                HtpasswdError::Hash(1),
            ),
            (
                &format!("ann:{}", HASH.replace("$05$", "$15$")),
                HtpasswdError::Cost(1),
            ),
            (&format!("ann:{HASH}\nann:{HASH}"), HtpasswdError::Twice(2)),
        ] {
            assert_eq!(htpasswd(text), Err(expected), "{text}");
        }
    }
}
