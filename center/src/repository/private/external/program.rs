//! The program: the question on standard input, the answer on standard output, exit code 3 for what does not exist.

use std::ffi::OsString;
use std::sync::Arc;

use bytes::Bytes;

use super::{Question, reason};
use crate::egress::{Egress, PASS_VARIABLE, Pass};
use crate::repository::RepoError;
use crate::repository::private::command::{Limits, RunError, Sealed};
use crate::repository::private::incidents::explanation;
use crate::repository::private::settings::FetcherSettings;

/// The exit code that says "does not exist". Any other but 0 leaves that open.
const ABSENT: i32 = 3;

/// A program of the operator's.
pub(in super::super) struct Program {
    command: Vec<String>,
    environment: Vec<(String, OsString)>,
    limits: Limits,
    egress: Arc<Egress>,
}

impl Program {
    pub(super) fn new(settings: &FetcherSettings, egress: Arc<Egress>) -> Result<Self, String> {
        let mut environment = Vec::new();
        for name in &settings.environment {
            let value = std::env::var_os(name).ok_or_else(|| format!("fetcher.environment: {name} is not set"))?;
            environment.push((name.clone(), value));
        }
        Ok(Self {
            command: settings.command.clone(),
            environment,
            limits: Limits {
                time: settings.timeout.get(),
                memory_bytes: settings.memory_max.bytes(),
                file_bytes: settings.file_size_max.bytes(),
            },
            egress,
        })
    }

    pub(super) async fn ask(&self, what: &str, question: &Question<'_>) -> Result<Bytes, RepoError> {
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(what, %error, "the external fetcher cannot be run");
            RepoError::Upstream(format!("{what}: the external fetcher failed; see the center's log"))
        };
        let home = tempfile::tempdir().map_err(|error| failed(&error))?;
        let pass = self.egress.pass();
        let input = serde_json::to_vec(question).map_err(|error| failed(&error))?;
        let sealed = Sealed {
            program: self.command.first().map(OsString::from).unwrap_or_default(),
            arguments: self.command.iter().skip(1).map(OsString::from).collect(),
            environment: self.environment(home.path().as_os_str().to_owned(), &pass),
            folder: home.path().to_owned(),
            input: input.into(),
            // What the operator's program needs, only the operator knows.
            way_out: None,
            limits: self.limits,
        };
        let said = match sealed.run().await {
            Ok(said) => said,
            Err(RunError::Time(_)) => {
                return Err(RepoError::Timeout(format!("{what}: the external fetcher is too slow")));
            }
            Err(error @ (RunError::Output | RunError::Io(_))) => return Err(failed(&error)),
        };
        match said.code {
            Some(0) => Ok(said.output.into()),
            Some(ABSENT) => Err(RepoError::NotFound(format!("{what}: {}", reason(said.errors.as_bytes())))),
            code => {
                tracing::warn!(what, ?code, said = said.errors.trim(), "the external fetcher gave no answer");
                let failed = || RepoError::Upstream(format!("{what}: the external fetcher failed"));
                Err(explanation(what, &pass.incidents()).unwrap_or_else(failed))
            }
        }
    }

    fn environment(&self, home: OsString, pass: &Pass) -> Vec<(String, OsString)> {
        let proxy = || OsString::from(pass.proxy_url());
        let own = [
            ("PATH", std::env::var_os("PATH").unwrap_or_default()),
            ("HOME", home.clone()),
            ("TMPDIR", home),
            ("HTTPS_PROXY", proxy()),
            ("https_proxy", proxy()),
            ("HTTP_PROXY", proxy()),
            ("http_proxy", proxy()),
            (PASS_VARIABLE, pass.variable().into()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        own.chain(self.environment.iter().cloned()).collect()
    }
}
