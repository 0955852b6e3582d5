//! What an operator says of the way out: the section `egress:` of the center's configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parent::Parent;
use super::rules::Rules;
use crate::sealed::Confinement;

/// Where the commands that fetch private modules may connect to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EgressSettings {
    /// If not empty, only these hosts and the internal ones are reached. `host` stands for its ports 443 and 22,
    /// `host:port` for that port. Other ports of a host that is not listed with them are never reached.
    pub(crate) hosts: Vec<String>,
    /// Hosts (or `host:port`) that may have internal addresses: loopback, private, link-local, documentation and the like.
    pub(crate) internal_hosts: Vec<String>,
    /// Where to connect instead of asking the name service: `host:port` to `address:port` (as `curl --connect-to`). The
    /// certificate or host key is still that of the host. The target is judged like any other address.
    pub(crate) connect_to: BTreeMap<String, String>,
    /// The company's proxy by which all others than `internal_hosts` and those of `connect_to` are reached:
    /// `http://[user@]host:port`. It resolves names, so what it lets through is for its own rules.
    pub(crate) parent: Option<String>,
    /// File with the password at that proxy.
    pub(crate) parent_password_file: Option<PathBuf>,
    /// Hosts that are reached without it, with all names below theirs; `*` for all.
    pub(crate) no_proxy: Vec<String>,
    /// Where the kernel cannot keep `go` and what it starts from connections past the proxy (Landlock's rules for the network:
    /// Linux 6.7): `required`: a center with a private repository that `go` fetches does not start; `best-effort`: it does, and
    /// the host's firewall must see to it.
    pub(crate) confinement: Confinement,
}

impl EgressSettings {
    /// What the types cannot say. The message names the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        Parent::new(self)?;
        Rules::new(self).map(|_| ())
    }
}
