//! Matrix parameters: the properties that clients made for Artifactory append to a path, `….zip;key=value;other=a,b`.

use std::collections::BTreeMap;

use shared::request::decode_percent;

use crate::error::Failure;
use crate::store::Properties;

/// Most names of properties in one request, and of one module or version.
pub(super) const NAMES_MAX: usize = 100;
/// Most values of one name.
const VALUES_MAX: usize = 100;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// Longest value, in bytes.
const VALUE_BYTES_MAX: usize = 4096;

/// Values by name.
pub(super) type Values = BTreeMap<String, Vec<String>>;

/// Cuts them off a path, as it was sent.
pub(super) fn split(path: &str) -> Result<(&str, Values), Failure> {
    let Some((path, parameters)) = path.split_once(';') else { return Ok((path, Values::new())) };
    let decode = |text: &str| {
        decode_percent(text).ok_or_else(|| Failure::BadRequest("property: invalid percent-encoding".to_owned()))
    };
    let mut values = Values::new();
    for parameter in parameters.split(';').filter(|parameter| !parameter.is_empty()) {
        let (name, list) = parameter.split_once('=').unwrap_or((parameter, ""));
        let list = list.split(',').map(decode).collect::<Result<Vec<_>, _>>()?;
        values.entry(decode(name)?).or_default().extend(list);
    }
    check(&values)?;
    Ok((path, values))
}

/// Whether these may be kept.
pub(super) fn check(values: &Values) -> Result<(), Failure> {
    let bad = |why: String| Err(Failure::BadRequest(format!("properties: {why}")));
    if values.len() > NAMES_MAX {
        return bad(format!("at most {NAMES_MAX} names"));
    }
    for (name, list) in values {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return bad(format!("a name has 1 to {NAME_BYTES_MAX} bytes and no control characters"));
        }
        if list.len() > VALUES_MAX {
            return bad(format!("{name:?}: at most {VALUES_MAX} values"));
        }
        if list.iter().any(|value| value.len() > VALUE_BYTES_MAX || value.contains('\0')) {
            return bad(format!("{name:?}: a value has at most {VALUE_BYTES_MAX} bytes"));
        }
    }
    Ok(())
}

/// Adds values to what is there; a name's old values go. Beyond the most names, new ones are not taken.
pub(super) fn merge(values: &Values, into: &mut Properties) {
    for (name, list) in values {
        if into.values.contains_key(name) || into.values.len() < NAMES_MAX {
            into.values.insert(name.clone(), list.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_cut_off_and_decoded() {
        let (path, values) = split("a/@v/v1.0.0.zip;build.name=x%3By;os=linux,mac;flag;os=bsd").unwrap();
        assert_eq!(path, "a/@v/v1.0.0.zip");
        assert_eq!(values["build.name"], ["x;y"]);
        assert_eq!(values["os"], ["linux", "mac", "bsd"]);
        assert_eq!(values["flag"], [""]);
        assert_eq!(split("a/@v/v1.0.0.zip").unwrap().1.len(), 0);
        for path in ["a;=x", "a;x=%zz", &format!("a;x={}", "y".repeat(5000))] {
            assert!(split(path).is_err(), "{path}");
        }
    }
}
