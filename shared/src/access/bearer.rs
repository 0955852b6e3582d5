//! The token that one tier shows to another.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use http::HeaderValue;
use parking_lot::Mutex;

use super::check::{LOOK_INTERVAL, Stamp, stamp_of};

/// From the settings, or from a file that may be replaced while everything runs.
pub struct Bearer {
    file: Option<PathBuf>,
    shown: Mutex<Shown>,
}

/// What is shown, and when the file was last looked at.
struct Shown {
    header: Option<HeaderValue>,
    next_look: Instant,
    seen: Option<Stamp>,
}

impl fmt::Debug for Bearer {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Bearer {
    /// What the types of two settings cannot say: `setting` has the token, `<setting>_file` names the file with it.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub fn check(setting: &str, token: &str, file: &Path) -> Result<(), String> {
        if !token.is_empty() && !file.as_os_str().is_empty() {
            return Err(format!("{setting}_file: {setting} is named as well"));
        }
        header_of(token).map(drop).map_err(|why| format!("{setting}: {why}"))
    }

    /// From a setting or from the file that another one names; without both, nothing is shown.
    ///
    /// # Errors
    /// Names the setting that is wrong, such as a file that cannot be read.
    pub fn open(setting: &str, token: &str, file: &Path) -> Result<Self, String> {
        Self::check(setting, token, file)?;
        let file = Some(file.to_owned()).filter(|file| !file.as_os_str().is_empty());
        let seen = file.as_deref().and_then(stamp_of);
        let header = match &file {
            Some(file) => read(file).map_err(|why| format!("{setting}_file: {}: {why}", file.display()))?,
            None => header_of(token).unwrap_or_default(),
        };
        Ok(Self { file, shown: Mutex::new(Shown { header, next_look: Instant::now() + LOOK_INTERVAL, seen }) })
    }

    /// The `Authorization` header, if there is a token. A file that has changed is read again; one that cannot be read leaves it
    /// as it was.
    pub fn header(&self) -> Option<HeaderValue> {
        let mut shown = self.shown.lock();
        if let Some(file) = self.file.as_deref().filter(|_| Instant::now() >= shown.next_look) {
            shown.next_look = Instant::now() + LOOK_INTERVAL;
            let stamp = stamp_of(file);
            if stamp != shown.seen {
                shown.seen = stamp;
                match read(file) {
                    Ok(header) => {
                        tracing::info!(file = %file.display(), "the token was read again");
                        shown.header = header;
                    }
                    Err(why) => tracing::error!(file = %file.display(), why, "the token stays as it was"),
                }
            }
        }
        shown.header.clone()
    }
}

fn read(file: &Path) -> Result<Option<HeaderValue>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let header = header_of(text.trim())?;
    if header.is_none() { Err("it is empty".to_owned()) } else { Ok(header) }
}

/// None without a token.
fn header_of(token: &str) -> Result<Option<HeaderValue>, String> {
    if token.is_empty() {
        return Ok(None);
    }
    let header = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut header = header.map_err(|_| "it has characters that no token has".to_owned())?;
    // So that no debug output of a request shows it.
    header.set_sensitive(true);
    Ok(Some(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bearer: &Bearer) -> Option<String> {
        bearer.header().map(|header| header.to_str().unwrap().to_owned())
    }

    #[test]
    fn it_is_of_one_setting_or_of_none() {
        let none = Path::new("");
        assert_eq!(said(&Bearer::open("t", "", none).unwrap()), None);
        let bearer = Bearer::open("t", "abc", none).unwrap();
        assert_eq!(said(&bearer).as_deref(), Some("Bearer abc"));
        assert!(!format!("{bearer:?} {:?}", bearer.header()).contains("abc"));
        for (token, file, error) in
            [("abc", "f", "t_file: t is named"), ("a\nb", "", "t: it has"), ("", "/nowhere/f", "t_file: /nowhere/f: ")]
        {
            let told = Bearer::open("t", token, Path::new(file)).unwrap_err();
            assert!(told.starts_with(error) && !told.contains("abc"), "{told}");
        }
    }

    #[test]
    fn a_file_that_is_replaced_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "\n").unwrap();
        assert!(Bearer::open("t", "", &file).unwrap_err().contains("it is empty"));
        std::fs::write(&file, "first\n").unwrap();
        let bearer = Bearer::open("t", "", &file).unwrap();
        std::fs::write(&file, "the second\n").unwrap();
        assert_eq!(said(&bearer).as_deref(), Some("Bearer first"), "it is looked at once a second");
        let look = || bearer.shown.lock().next_look = Instant::now();
        look();
        assert_eq!(said(&bearer).as_deref(), Some("Bearer the second"));
        std::fs::remove_file(&file).unwrap();
        look();
        assert_eq!(said(&bearer).as_deref(), Some("Bearer the second"));
    }
}
