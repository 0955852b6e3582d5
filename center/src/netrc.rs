//! `.netrc`: the login of a host, as the `go` command reads it (`cmd/go/internal/auth`).

use std::path::PathBuf;

/// A login.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// The user's name.
    pub(crate) user: String,
    /// The password or token.
    pub(crate) password: String,
}

/// The file: `NETRC`, or `.netrc` in the home directory. None where there is neither.
pub(crate) fn file() -> Option<PathBuf> {
    let named = std::env::var_os("NETRC").filter(|name| !name.is_empty()).map(PathBuf::from);
    named.or_else(|| std::env::home_dir().map(|home| home.join(".netrc")))
}

/// The login of exactly this host. What follows a `default` counts for nobody, as for the `go` command.
pub(crate) fn login_of(text: &str, host: &str) -> Option<Login> {
    let (mut machine, mut user, mut password) = (None, None, None);
    let mut in_macro = false;
    for line in text.lines() {
        if in_macro {
            in_macro = !line.is_empty();
            continue;
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        let mut fields = fields.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>().into_iter();
        for (key, value) in fields.by_ref() {
            match key {
                "machine" => (machine, user, password) = (Some(value), None, None),
                "login" => user = Some(value),
                "password" => password = Some(value),
                "macdef" => in_macro = true,
                _ => {}
            }
            if let (Some(machine), Some(user), Some(password)) = (machine, user, password)
                && machine == host
            {
                return Some(Login { user: user.to_owned(), password: password.to_owned() });
            }
        }
        if line.split_whitespace().any(|word| word == "default") {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_itself_counts() {
        let text = "machine a.test login u password p\nmacdef m\nmachine b.test login x password y\n\n\
                    machine b.test\n\tlogin v\n\tpassword q\ndefault login anyone password z\nmachine c.test login a password b\n";
        let of = |host: &str| login_of(text, host).map(|login| (login.user, login.password));
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(of("a.test"), pair("u", "p"));
        assert_eq!(of("b.test"), pair("v", "q"));
        assert_eq!(of("c.test"), None);
        assert_eq!(of("test"), None);
    }
}
