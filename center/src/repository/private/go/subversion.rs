//! What Subversion reads: settings, and credentials as it would have stored them itself.
//!
//! It knows a credential by the realm that a server states, together with the server's address; and so it sends it nowhere else, not to
//! another host that the repository refers to either. Of a file of certificates it takes the first and no other: each gets its own.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use md5::{Digest as _, Md5};

use super::home::write;
use super::hosts::{Host, Hosts};
use crate::egress::Pass;

/// Where it looks for credentials, below the folder of a fetch.
const CREDENTIALS: &str = "home/.subversion/auth/svn.simple";
/// Where the certificates lie.
const CERTIFICATES: &str = "svn-certificates";

/// Writes all of it below the folder of a fetch. `ssh` is how it is to call that.
pub(super) fn lay_out(root: &Path, hosts: &Hosts, pass: &Pass, ssh: &str) -> io::Result<()> {
    for folder in [CREDENTIALS, CERTIFICATES] {
        fs::create_dir_all(root.join(folder))?;
    }
    write(&root.join("home/.subversion/servers"), &servers(root, hosts, pass)?)?;
    write(&root.join("home/.subversion/config"), &format!("[tunnels]\nssh = {ssh}\n"))?;
    for (name, credential) in hosts.iter().filter_map(|(name, host)| credential(name, host)) {
        write(&root.join(CREDENTIALS).join(name), &credential)?;
    }
    Ok(())
}

/// Whom to trust, and the way out.
fn servers(root: &Path, hosts: &Hosts, pass: &Pass) -> io::Result<String> {
    let with_authority: Vec<&str> =
        hosts.iter().filter(|(_, host)| host.authority.is_some()).map(|(name, _)| name).collect();
    let mut text = "[groups]\n".to_owned();
    for (at, name) in with_authority.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "h{at} = {name}");
    }
    for (at, name) in with_authority.iter().enumerate() {
        let _ = writeln!(text, "[h{at}]\nssl-authority-files = {}", files(root, name, &hosts.roots(Some(name))?)?);
    }
    let _ = write!(
        text,
        "[global]\nhttp-proxy-host = {}\nhttp-proxy-port = {}\nhttp-proxy-username = {}\nhttp-proxy-password = {}\n\
         ssl-authority-files = {}\nssl-trust-default-ca = no\nstore-passwords = no\nstore-auth-creds = no\n",
        pass.address().ip(),
        pass.address().port(),
        Pass::user(),
        pass.password(),
        files(root, "", &hosts.roots(None)?)?
    );
    Ok(text)
}

/// Writes each certificate into a file of its own; their paths as a list.
fn files(root: &Path, host: &str, certificates: &str) -> io::Result<String> {
    let mut list = Vec::new();
    for (at, certificate) in each(certificates).enumerate() {
        let path = root.join(CERTIFICATES).join(format!("{host}-{at}.pem"));
        write(&path, &certificate)?;
        list.push(path.display().to_string());
    }
    Ok(list.join(";"))
}

fn each(certificates: &str) -> impl Iterator<Item = String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    certificates.split(BEGIN).skip(1).filter_map(|rest| Some(format!("{BEGIN}{}{END}\n", rest.split_once(END)?.0)))
}

fn credential(name: &str, host: &Host) -> Option<(String, String)> {
    let (realm, password) = (host.realm.as_ref()?, host.password.as_ref()?);
    let realm = format!("<https://{name}:443> {realm}");
    let entries =
        [("passtype", "simple"), ("password", password), ("svn:realmstring", &realm), ("username", &host.username)];
    let mut text = String::new();
    for (key, value) in entries {
        let _ = write!(text, "K {}\n{key}\nV {}\n{value}\n", key.len(), value.len());
    }
    text.push_str("END\n");
    Some((hex::encode(Md5::digest(&realm)), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_is_one() {
        let one = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        let text = format!("# who it is\n{}\n{}", one("AAA"), one("BBB"));
        assert_eq!(each(&text).collect::<Vec<_>>(), [one("AAA"), one("BBB")]);
    }

    #[test]
    fn a_credential_is_stored_as_subversion_stores_it() {
        let host = Host {
            username: "ci".to_owned(),
            password: Some("secretpw".to_owned()),
            realm: Some("Corp Subversion".to_owned()),
            authority: None,
            ssh_key_file: None,
            known_hosts_file: None,
        };
        let (file, text) = credential("svn.corp.test", &host).unwrap();
        // Of `printf '<https://svn.corp.test:443> Corp Subversion' | md5sum`.
        assert_eq!(file, "05146c1dba4236365414d26fdf1bb14d");
        let expected = "K 8\npasstype\nV 6\nsimple\nK 8\npassword\nV 8\nsecretpw\nK 15\nsvn:realmstring\nV 43\n\
                        <https://svn.corp.test:443> Corp Subversion\nK 8\nusername\nV 2\nci\nEND\n";
        assert_eq!(text, expected);
        assert!(credential("svn.corp.test", &Host { realm: None, ..host.clone() }).is_none());
        assert!(credential("svn.corp.test", &Host { password: None, ..host }).is_none());
    }
}
