//! Credentials by host in the form of a `.netrc` file, which the `go` command and curl read too.

/// One machine of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The host; none for `default`.
    pub(crate) host: Option<String>,
    /// The user's name.
    pub(crate) login: String,
    /// The password or token.
    pub(crate) password: String,
}

/// Reads the file. `default` counts for no host: a credential belongs to the host it names. Macros are passed over.
pub(crate) fn parse(text: &str) -> Vec<Machine> {
    let mut machines: Vec<Machine> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        while let Some(word) = words.next() {
            match word {
                "machine" => {
                    let host = words.next().map(str::to_ascii_lowercase);
                    machines.push(Machine { host, ..Machine::default() });
                }
                "default" => machines.push(Machine::default()),
                "login" | "password" | "account" => {
                    let value = words.next().unwrap_or_default().to_owned();
                    match (word, machines.last_mut()) {
                        ("login", Some(machine)) => machine.login = value,
                        ("password", Some(machine)) => machine.password = value,
                        _ => {}
                    }
                }
                // A macro ends with an empty line.
                "macdef" => {
                    lines.by_ref().take_while(|line| !line.trim().is_empty()).for_each(drop);
                    break;
                }
                _ => {}
            }
        }
    }
    machines.retain(|machine| machine.host.is_some());
    machines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_read_however_they_are_laid_out() {
        let text = "# first\nmachine One.test login bob password a#b\nmacdef init\nmachine evil.test login x password y\n\n\
                    machine\ttwo.test\n  login carol\n  account z\n  password p\ndefault login anybody password at-all\n";
        let machine = |host: &str, login: &str, password: &str| Machine {
            host: Some(host.to_owned()),
            login: login.to_owned(),
            password: password.to_owned(),
        };
        assert_eq!(parse(text), [machine("one.test", "bob", "a#b"), machine("two.test", "carol", "p")]);
        assert_eq!(parse(""), []);
        assert_eq!(parse("machine"), []);
    }
}
