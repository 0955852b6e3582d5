//! What the tests of this room have in common: a forge, and a cluster whose center knows how to reach it.

use modtier_tests::forge::{Forge, PASSWORD};
use modtier_tests::{Cluster, ClusterBuilder, Origin};
use serde_json::{Value, json};

/// The host of the repositories, and one whose pages only say where modules are.
pub(crate) const GIT: &str = "git.corp.test";
pub(crate) const VANITY: &str = "go.corp.test";
/// The host of what is served by Apache.
pub(crate) const SVN: &str = "svn.corp.test";
/// The secret of the webhook.
pub(crate) const SECRET: &str = "webhook-secret";

/// A forge, and a public origin that must never be asked for what belongs to the forge.
pub(crate) struct Place {
    pub(crate) forge: Forge,
    pub(crate) origin: Origin,
}

/// The settings of the private repository, and of the way out.
pub(crate) struct Settings {
    pub(crate) repository: Value,
    pub(crate) egress: Value,
}

impl Place {
    pub(crate) async fn new() -> Self {
        Self { forge: Forge::start(&[GIT, VANITY, SVN]).await, origin: Origin::start().await }
    }

    /// What a center needs to fetch from the forge.
    pub(crate) fn settings(&self) -> Settings {
        let address = self.forge.address().to_string();
        let authority = self.forge.authority().certificate();
        Settings {
            repository: json!({
                "type": "private",
                "owns": ["*.corp.test"],
                "fetcher": {
                    "hosts": {
                        GIT: { "username": "ci", "password_env": "FORGE_PASSWORD", "ca_file": authority },
                        VANITY: { "ca_file": authority },
                    },
                    "webhook_secret_env": "FORGE_SECRET",
                },
            }),
            egress: json!({
                "hosts": [GIT, VANITY],
                "internal_hosts": [GIT, VANITY],
                "connect_to": { format!("{GIT}:443"): address, format!("{VANITY}:443"): address },
                "confinement": if confines() { "required" } else { "best-effort" },
            }),
        }
    }

    pub(crate) async fn cluster(&self) -> Cluster {
        self.builder(&self.settings()).start().await
    }

    pub(crate) fn builder(&self, settings: &Settings) -> ClusterBuilder {
        let members = ["golang-local", "golang-private", "golang-remote"];
        let repositories = json!({
            "golang-local": {},
            "golang-private": settings.repository,
            "golang-remote": { "type": "remote" },
            "golang-virtual": { "type": "virtual", "members": members, "default_deployment": "golang-local" },
        });
        let mut builder = Cluster::of(&self.origin);
        for (key, value) in settings.egress.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            builder = builder.center_env(&format!("MODTIER_CENTER_EGRESS_{}", key.to_uppercase()), &text);
        }
        builder
            .center_env("MODTIER_CENTER_REPOSITORIES", &repositories.to_string())
            .center_env("FORGE_PASSWORD", PASSWORD)
            .center_env("FORGE_SECRET", SECRET)
            // What version control needs on a machine that compiles beside.
            .edge_env("MODTIER_EDGE_LIMITS_UPSTREAM_FIRST_BYTE", "2m")
    }

    /// What the public origin was asked about the forge's modules.
    pub(crate) fn leaked(&self) -> Vec<String> {
        let seen = self.origin.seen().into_iter().map(|seen| seen.path);
        seen.filter(|path| path.contains("corp.test")).collect()
    }
}

/// Whether the kernel can keep a command to one port: Landlock's rules for the network came with Linux 6.7.
pub(crate) fn confines() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 7)
}

/// To be put before a program's own words: it runs on a kernel without Landlock, as far as it and its children can tell (the
/// system call that asks for it is answered ENOSYS by a seccomp filter).
pub(crate) const WITHOUT_LANDLOCK: [&str; 3] = [
    "perl",
    "-e",
    r#"
    use POSIX ();
    my $prctl = (POSIX::uname())[4] eq "aarch64" ? 167 : 157;
    my $filter = pack("SCCL" x 4, 0x20,0,0,0, 0x15,0,1,444, 0x06,0,0,0x50026, 0x06,0,0,0x7fff0000);
    my $program = pack("Sx6P", 4, $filter);
    syscall($prctl, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!";
    syscall($prctl, 22, 2, $program) == 0 or die "seccomp: $!";
    exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!";
"#,
];
