//! The subcommands: what an operator asks of a running edge, through its administration listener.
//!
//! Exit codes: 0 done; 1 the edge could not be asked, or could not do it (all of it); 2 called wrongly.

mod client;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use shared::cli::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE, fail};
use shared::table::{number, table, text};

use self::client::{Client, Failed};

/// What to ask of a running edge.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Drop what is held of a module, of a version, or all of it
    Purge {
        /// MODULE or MODULE@VERSION
        #[arg(value_name = "MODULE[@VERSION]", required_unless_present = "all", conflicts_with = "all")]
        what: Option<String>,
        /// Everything
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        to: To,
    },
    /// Fetch what is not held yet: paths such as example.com/a/@v/list, or MODULE@VERSION
    Prewarm {
        /// Paths, or MODULE@VERSION for its info, mod and zip
        #[arg(required_unless_present = "file")]
        artefacts: Vec<String>,
        /// Further ones, one a line
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        to: To,
    },
    /// Show the modules that are asked for most
    Hot {
        /// How many
        #[arg(short, default_value_t = 20)]
        n: usize,
        #[command(flatten)]
        to: To,
    },
    /// Show the centers; or force the breaker of one open or closed for a while
    Upstreams {
        /// What to do with a breaker
        #[arg(requires = "name")]
        action: Option<Action>,
        /// The center's name, as `upstreams` shows it
        name: Option<String>,
        /// For how long
        #[arg(long = "for", value_name = "TIME", default_value = "5m")]
        time: String,
        #[command(flatten)]
        to: To,
    },
    /// Show how far changes are followed
    Sync {
        #[command(flatten)]
        to: To,
    },
    /// Read the configuration again
    Reload {
        #[command(flatten)]
        to: To,
    },
}

/// What an operator does with a breaker.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Action {
    /// Nobody asks the center
    Open,
    /// It is asked whatever happens
    Close,
    /// It is left to itself again
    Auto,
}

/// Which edge, and how to speak to it.
#[derive(Debug, Args)]
pub(crate) struct To {
    /// The administration listener; without it, the one that the configuration names
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// File with the token to present; without it, the variable `MODTIER_EDGE_TOKEN`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print the edge's answer as JSON
    #[arg(long)]
    json: bool,
}

/// What to send, and how its answer is shown.
struct Request {
    path: String,
    body: Option<Value>,
    show: fn(&Value) -> String,
}

/// Runs a subcommand.
pub(crate) fn run(command: Command, config_file: Option<&Path>) -> ExitCode {
    let (request, to) = match request_of(command) {
        Ok(request) => request,
        Err(error) => return fail("edge", EXIT_USAGE, &error),
    };
    let asked = Client::new(&to, config_file).and_then(|client| client.ask(&request.path, request.body.as_ref()));
    let answer = match asked {
        Ok(answer) => answer,
        Err(Failed::Usage(error)) => return fail("edge", EXIT_USAGE, &error),
        Err(Failed::Edge(error)) => return fail("edge", EXIT_FAILED, &error),
    };
    let shown = if to.json { format!("{answer}\n") } else { (request.show)(&answer) };
    // A closed pipe (`… | head`) is no error of ours.
    let _ = std::io::stdout().lock().write_all(shown.as_bytes());
    let is_partly = answer["failed"].as_u64().is_some_and(|failed| failed > 0);
    ExitCode::from(if is_partly { EXIT_FAILED } else { EXIT_DONE })
}

fn request_of(command: Command) -> Result<(Request, To), String> {
    let request = |path: &str, body, show| Request { path: format!("api/v1/{path}"), body, show };
    Ok(match command {
        Command::Purge { what, all: _, to } => {
            let body = match what.as_deref().map(|what| what.split_once('@').ok_or(what)) {
                None => json!({}),
                Some(Ok((module, version))) => json!({ "module": module, "version": version }),
                Some(Err(module)) => json!({ "module": module }),
            };
            (request("purge", Some(body), |answer| format!("{} entries purged\n", number(&answer["purged"]))), to)
        }
        Command::Prewarm { mut artefacts, file, to } => {
            if let Some(file) = file {
                let lines = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                artefacts.extend(lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
            }
            (request("prewarm", Some(json!({ "artefacts": artefacts })), prewarmed), to)
        }
        Command::Hot { n, to } => (request(&format!("hot?n={n}"), None, hot), to),
        Command::Upstreams { action: None, to, .. } => (request("upstreams", None, upstreams), to),
        Command::Upstreams { action: Some(action), name, time, to } => {
            let name = name.unwrap_or_default();
            let breaker = match action {
                Action::Open => "open",
                Action::Close => "close",
                Action::Auto => "auto",
            };
            let path = format!("upstreams/{}", client::path_segment(&name));
            (request(&path, Some(json!({ "breaker": breaker, "for": time })), upstreams), to)
        }
        Command::Sync { to } => (request("sync", None, sync), to),
        Command::Reload { to } => (request("reload", Some(json!({})), reloaded), to),
    })
}

fn prewarmed(answer: &Value) -> String {
    let failed: Vec<Vec<String>> = rows(&answer["artefacts"])
        .filter(|item| item["result"] == "failed")
        .map(|item| vec![text(&item["artefact"]), text(&item["error"])])
        .collect();
    let count = |name: &str| number(&answer[name]);
    let summary = format!("{} held, {} filled, {} failed\n", count("held"), count("filled"), count("failed"));
    if failed.is_empty() { summary } else { summary + &table(&["FAILED", "WHY"], &failed) }
}

fn hot(answer: &Value) -> String {
    let row = |module: &Value| {
        let millis = |name: &str| number(&module[name].as_f64().map(|seconds| seconds * 1e3).into());
        vec![text(&module["module"]), number(&module["requests"]), millis("p50_seconds"), millis("p99_seconds")]
    };
    table(&["MODULE", "REQUESTS", "P50 ms", "P99 ms"], &rows(&answer["modules"]).map(row).collect::<Vec<_>>())
}

fn upstreams(answer: &Value) -> String {
    let row = |center: &Value| {
        let breaker = &center["breaker"];
        let forced =
            breaker["forced_ms"].as_f64().map_or_else(String::new, |ms| format!(" (forced, {:.0} s)", ms / 1e3));
        vec![
            text(&center["name"]),
            text(&center["url"]),
            text(&breaker["state"]) + &forced,
            number(&center["in_flight"]),
            number(&center["mean_ms"]),
            number(&center["p95_ms"]),
            number(&center["ewma_ms"]),
            number(&center["loss"]),
            number(&center["success_rate"]),
        ]
    };
    let rows: Vec<_> = rows(&answer["upstreams"]).map(row).collect();
    let names = ["NAME", "URL", "BREAKER", "IN FLIGHT", "PROBES ms", "P95 ms", "FIRST BYTE ms", "LOSS", "SUCCESS"];
    let last = &answer["last_choice"];
    let choice = if last.is_object() {
        format!("last choice: {}, {}\n", text(&last["center"]), text(&last["reason"]))
    } else {
        String::new()
    };
    table(&names, &rows) + &choice
}

fn sync(answer: &Value) -> String {
    let names = ["EDGE", "REPOSITORY", "CHANNEL", "CURSOR", "HEAD", "LAG s"];
    let row = ["edge", "repo", "channel", "cursor", "head"].map(|name| text(&answer[name]));
    table(&names, &[row.into_iter().chain([number(&answer["lag_seconds"])]).collect()])
}

fn reloaded(answer: &Value) -> String {
    let row = |change: &Value| {
        let when = if change["needs_restart"] == true { "needs a restart" } else { "now" };
        vec![text(&change["setting"]), text(&change["old"]), text(&change["new"]), when.to_owned()]
    };
    let rows: Vec<_> = rows(&answer["changes"]).map(row).collect();
    if rows.is_empty() {
        "nothing has changed\n".to_owned()
    } else {
        table(&["SETTING", "OLD", "NEW", "IN FORCE"], &rows)
    }
}

fn rows(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
