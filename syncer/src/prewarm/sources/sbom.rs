//! Bills of materials: `CycloneDX` (JSON) and SPDX (JSON, tag-value), of which only the package URLs of Go modules count.

use serde::Deserialize;

use crate::prewarm::wanted::Key;

/// How deep components may be nested.
const DEPTH_MAX: usize = 16;

/// What may be in either kind of JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Bill {
    /// `CycloneDX`.
    components: Vec<Component>,
    /// SPDX.
    packages: Vec<Package>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Component {
    group: String,
    name: String,
    purl: String,
    components: Vec<Component>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Package {
    name: String,
    external_refs: Vec<Reference>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reference {
    reference_type: String,
    reference_locator: String,
}

/// The Go modules of a bill, in the order in which they stand there.
///
/// # Errors
/// When the text is no bill of a kind that is known.
pub(crate) fn parse(text: &str) -> Result<Vec<Key>, String> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with("SPDXVersion:") {
        return Ok(tag_value(text));
    }
    let bill: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("no bill of materials: {error}"))?;
    if bill["bomFormat"] != "CycloneDX" && !bill["spdxVersion"].is_string() {
        return Err("no bill of materials of CycloneDX or SPDX 2".to_owned());
    }
    let bill: Bill = serde_json::from_value(bill).map_err(|error| format!("no bill of materials: {error}"))?;
    let mut found = Vec::new();
    of_components(&bill.components, DEPTH_MAX, &mut found);
    for package in &bill.packages {
        for reference in package.external_refs.iter().filter(|reference| reference.reference_type == "purl") {
            found.extend(key_of(&reference.reference_locator, &package.name));
        }
    }
    Ok(found)
}

fn of_components(components: &[Component], depth: usize, found: &mut Vec<Key>) {
    for component in components {
        let name = if component.group.is_empty() {
            component.name.clone()
        } else {
            format!("{}/{}", component.group, component.name)
        };
        found.extend(key_of(&component.purl, &name));
        if depth > 0 {
            of_components(&component.components, depth - 1, found);
        }
    }
}

fn tag_value(text: &str) -> Vec<Key> {
    let mut name = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("PackageName:") {
            name = value.trim();
        } else if let Some(value) = line.strip_prefix("ExternalRef:") {
            let fields: Vec<&str> = value.split_whitespace().collect();
            if let [_, "purl", purl] = fields.as_slice() {
                found.extend(key_of(purl, name));
            }
        }
    }
    found
}

/// `pkg:golang/github.com/a/b@v1.2.3?type=module#sub` is `github.com/a/b@v1.2.3`. Package URLs of Go may have been written in
/// lower case, as their specification wants it; then the name beside it knows better.
fn key_of(purl: &str, name: &str) -> Option<Key> {
    let rest = purl.strip_prefix("pkg:golang/")?;
    let rest = rest.split(['?', '#']).next()?;
    let (path, version) = rest.rsplit_once('@')?;
    let (path, version) = (decoded(path)?, decoded(version)?);
    let path = if name.eq_ignore_ascii_case(&path) { name } else { &path };
    let version = if version.starts_with('v') { version } else { format!("v{version}") };
    Key::new(path, &version).ok()
}

/// Without percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        parse(text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_bill_of_cyclonedx() {
        let text = r#"{"bomFormat":"CycloneDX","specVersion":"1.5",
            "metadata":{"component":{"purl":"pkg:golang/example.com/main@v0.0.0"}},
            "components":[
              {"type":"library","name":"github.com/BurntSushi/toml","version":"v1.5.0","purl":"pkg:golang/github.com/burntsushi/toml@v1.5.0?type=module&goos=linux"},
              {"name":"b","group":"example.com","purl":"pkg:golang/example.com/b@v2.0.0%2Bincompatible#sub/package",
               "components":[{"name":"c","purl":"pkg:golang/example.com/c@1.0.0"}]},
              {"name":"left-pad","purl":"pkg:npm/left-pad@1.3.0"},{"name":"std","purl":"pkg:golang/std@1.26.0"},{"name":"none"}]}"#;
        assert_eq!(
            names(text),
            ["github.com/BurntSushi/toml@v1.5.0", "example.com/b@v2.0.0+incompatible", "example.com/c@v1.0.0"]
        );
    }

    #[test]
    fn a_bill_of_spdx_in_both_forms() {
        let json = r#"{"spdxVersion":"SPDX-2.3","packages":[{"name":"github.com/A/b","externalRefs":[
            {"referenceCategory":"SECURITY","referenceType":"cpe23Type","referenceLocator":"cpe:2.3:a:x"},
            {"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:golang/github.com/a/b@v1.0.0"}]}]}"#;
        assert_eq!(names(json), ["github.com/A/b@v1.0.0"]);
        let tags = "SPDXVersion: SPDX-2.3\nPackageName: github.com/A/b\nExternalRef: PACKAGE-MANAGER purl pkg:golang/github.com/a/b@v1.0.0\n\
                    ExternalRef: SECURITY cpe23Type cpe:2.3:a:x\n";
        assert_eq!(names(tags), ["github.com/A/b@v1.0.0"]);
    }

    #[test]
    fn what_is_no_bill() {
        for wrong in ["", "{}", "[]", "{\"bomFormat\":\"other\"}", "{\"spdxVersion\":\"SPDX-2.3\",\"packages\":1}"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(key_of("pkg:golang/example.com/a@v1.0.0%2", ""), None);
    }
}
