//! One request, top to bottom.
//!
//! ```text
//! read     what is asked, from the raw path and few headers          ask.rs
//! parse    into a typed request: routing and key come from it alone   shared::request
//! cache    memory, then disk
//!   fresh  ──────────────▶ HIT, NEGATIVE
//!   stale  ──────────────▶ STALE, and a refresh behind
//! fill     join the one fill of the key                               upstream/fetch.rs
//!   its first bytes ─────▶ MISS           (several clients follow one fill)
//!   confirmed ───────────▶ REVALIDATED
//!   outage ──────────────▶ STALE if anything is held, else 502, 503, 504; never 404
//!   no room on the disk ─▶ BYPASS                                     upstream/bypass.rs
//! respond  HEAD, 304, ranges, body                                    respond.rs
//! log      one line
//! ```

mod answer;
mod ask;
pub(crate) mod pages;
mod tally;
#[cfg(test)]
mod tests;
pub(crate) mod warm;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Version, header};
use pingora_core::protocols::http::ServerSession;
use shared::fill::FillErrorKind;
use shared::request::{Request, SumdbPart};

use self::answer::{from_fill, from_held, from_passed};
use self::ask::{Ask, Target};
use self::tally::Route;
pub(crate) use self::tally::Tally;
use crate::access_log::{AccessLog, Line};
use crate::app::App;
use crate::cache::{Freshness, Key};
use crate::error::EdgeError;
use crate::limit::{TooMany, Urgency};
use crate::respond::{self, Answer, Envelope, Sent, XCache};
use crate::upstream::{self, Fetch, Fill, FillHead, RouteKey, Wanted};

/// Whether the connection can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The response is complete.
    Clean,
    /// It broke off: the session must be dropped, never finished.
    Broken,
}

/// Answers the request whose header was just read; `secure`: over TLS.
pub(crate) async fn request(app: &Arc<App>, session: &mut ServerSession, secure: bool) -> Ended {
    let started = Instant::now();
    let ask = Ask::read(session, app.config().label_header());
    let target = ask.target(&app.edge_id, &app.config().tenant);
    let answer = match &target {
        Ok(Target::Front) => Ok(pages::front(app, ask::host(session), secure)),
        Ok(Target::Health) => Ok(pages::health()),
        Ok(Target::Ready) => Ok(pages::ready(app, false)),
        Ok(Target::Version) => Ok(pages::version()),
        Ok(Target::Artefact(request)) => artefact(app, &ask, request).await,
        Err(error) => Err(error.clone()),
    };
    if let Err(EdgeError::TooMany(too_many)) = &answer {
        app.metrics.over_limit(too_many.whose);
    }
    let answer = answer.unwrap_or_else(|error| Answer::error(&error, &ask.request_id));
    deliver(app, session, &ask, target.as_ref().ok(), answer, secure, started).await
}

/// Answers a request that must not be served, whose header was just read.
pub(crate) async fn refuse(app: &App, session: &mut ServerSession, error: &EdgeError, secure: bool) -> Ended {
    let started = Instant::now();
    let ask = Ask::read(session, app.config().label_header());
    let answer = Answer::error(error, &ask.request_id);
    deliver(app, session, &ask, None, answer, secure, started).await
}

/// Sends an answer, counts it and logs it.
async fn deliver(
    app: &App,
    session: &mut ServerSession,
    ask: &Ask,
    target: Option<&Target>,
    answer: Answer,
    secure: bool,
    started: Instant,
) -> Ended {
    let x_cache = answer.x_cache;
    let envelope = Envelope {
        request_id: &ask.request_id,
        signature: &app.signature,
        head: ask.is_head(),
        hsts: secure.then(|| shared::tls::hsts(app.config().tls.hsts_preload)),
    };
    let sent = respond::send(session, &envelope, &ask.conditions, answer, &app.behind).await;
    note(app, session, ask, target, x_cache, &sent, started.elapsed());
    match sent {
        Sent::Complete { .. } => Ended::Clean,
        Sent::Broken { .. } => Ended::Broken,
    }
}

/// An artefact, or a part of a checksum database: cache, then fill.
async fn artefact(app: &Arc<App>, ask: &Ask, request: &Request) -> Result<Answer, EdgeError> {
    app.limits.admit(&app.config(), ask.client)?;
    let key = Key::of(&app.config().repository, request);
    let held = app.held(&key).await;
    match &held {
        Some((entry, Freshness::Fresh)) => return Ok(from_held(app, ask, request, entry, None)),
        Some((entry, Freshness::Stale)) => {
            if !ask.held_only {
                // A client over its rate begins no refresh; another one will.
                let _ = begin(app, ask, request, &key, Wanted::After(ask.client));
            }
            return Ok(from_held(app, ask, request, entry, Some(XCache::Stale)));
        }
        Some((_, Freshness::StaleIfError | Freshness::Expired)) | None => {}
    }
    if ask.held_only {
        return match held {
            Some((entry, _)) => Ok(from_held(app, ask, request, &entry, Some(XCache::Stale))),
            None => Err(EdgeError::NotFound("not held here, and the request forbids to fetch it".into())),
        };
    }
    let usable = held.and_then(|(entry, freshness)| (freshness < Freshness::Expired).then_some(entry));
    match filled(app, ask, request, &key).await {
        Ok(answer) => Ok(answer),
        // An outage says nothing about the artefact: what is held is better, however old.
        Err(error) if error.is_outage() => match usable {
            Some(entry) => Ok(from_held(app, ask, request, &entry, Some(XCache::Stale))),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Joins the fill of the key and answers from it.
async fn filled(app: &Arc<App>, ask: &Ask, request: &Request, key: &Key) -> Result<Answer, EdgeError> {
    // A second round only when what the fill said was held went away before it was read, or the fill ended because nobody
    // had waited for it until now.
    for _ in 0..2 {
        let fill = begin(app, ask, request, key, Wanted::By(ask.client))?;
        let answered = match fill.head().await {
            Ok(head) => match &*head {
                FillHead::Body(_) => from_fill(app, ask, request, &fill, &head).await,
                FillHead::Held { revalidated } => {
                    fill.done().await?;
                    let label = revalidated.then_some(XCache::Revalidated);
                    match app.held(key).await {
                        Some((entry, _)) => return Ok(from_held(app, ask, request, &entry, label)),
                        None => continue,
                    }
                }
            },
            Err(error) => Err(error),
        };
        return match answered {
            Ok(answer) => Ok(answer),
            Err(error) if error.kind == FillErrorKind::Storage => {
                let turn = app.limits.turn(&app.config(), None, Some(ask.client), Urgency::Request)?;
                let passed = upstream::pass_through(app, fetch(app, ask, request, key), turn).await?;
                from_passed(ask, request, passed).await
            }
            Err(error) if error.kind == FillErrorKind::Abandoned => continue,
            Err(error) => Err(error.into()),
        };
    }
    let reason = "what was held went away twice while it was read".to_owned();
    Err(EdgeError::Unavailable { reason, retry_after: None })
}

/// The one fill of the key, begun if none is under way.
fn begin(app: &Arc<App>, ask: &Ask, request: &Request, key: &Key, wanted: Wanted) -> Result<Fill, TooMany> {
    let is_ahead = matches!(wanted, Wanted::Ahead);
    upstream::begin(app, key, wanted, || Fetch { is_ahead, ..fetch(app, ask, request, key) })
}

fn fetch(app: &App, ask: &Ask, request: &Request, key: &Key) -> Fetch {
    let (module, mutable, artefact) = match request {
        Request::Module(module) => {
            (Some(module.module.to_string()), module.artefact.is_mutable(), module.artefact.kind().as_str())
        }
        Request::Sumdb(sumdb) => (None, matches!(sumdb.part, SumdbPart::Latest), "sumdb"),
    };
    let route = RouteKey { tenant: app.config().tenant.clone(), module, label: ask.label.clone() };
    Fetch {
        key: key.clone(),
        path: request.to_path(),
        artefact,
        route,
        mutable,
        after_removal: false,
        is_ahead: false,
        request_id: ask.request_id.clone(),
        via: ask.via.clone(),
    }
}

/// Counts and logs a request that was refused before it could be read: all that is known is who sent it.
pub(crate) fn note_unread(app: &App, client: Option<IpAddr>, status: u16, bytes: u64) {
    app.tally.request(Route::Refused, None, status, Duration::ZERO);
    if AccessLog::is_on() {
        app.access_log.write(&Line {
            took: Duration::ZERO,
            request_id: "-",
            method: "-",
            path: "",
            version: Version::HTTP_11,
            status,
            bytes,
            client,
            user_agent: None,
            route: Route::Refused.as_str(),
            cache: None,
            broken: None,
        });
    }
}

/// Counts the request and logs it.
fn note(
    app: &App,
    session: &ServerSession,
    ask: &Ask,
    target: Option<&Target>,
    x_cache: Option<XCache>,
    sent: &Sent,
    took: Duration,
) {
    let (status, bytes, broken) = match sent {
        Sent::Complete { status, bytes } => (status.as_u16(), *bytes, None),
        Sent::Broken { status, bytes, reason } => (status.as_u16(), *bytes, Some(reason.as_str())),
    };
    let route = Route::of(target);
    app.tally.request(route, x_cache, status, took);
    if broken.is_some() {
        app.metrics.broken_responses.inc();
    } else if let Some(Target::Artefact(Request::Module(module))) = target
        && status < 400
    {
        app.popularity.note(&module.module, took);
    }
    if AccessLog::is_on() {
        let request = session.req_header();
        app.access_log.write(&Line {
            took,
            request_id: &ask.request_id,
            method: ask.method.as_str(),
            path: &ask.path,
            version: request.version,
            status,
            bytes,
            client: session.client_addr().and_then(|address| address.as_inet()).map(SocketAddr::ip),
            user_agent: request.headers.get(header::USER_AGENT).map(HeaderValue::as_bytes),
            route: route.as_str(),
            cache: x_cache.map(XCache::label),
            broken,
        });
    }
}
