//! Asking: one center after another until one answers, and when to stop waiting for one.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, header};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use shared::fill::{FillError, FillErrorKind};
use tokio::time::{Instant, sleep_until};

use super::attempt::{Attempt, Attempts, Failure, Taken};
use super::health::{Health, News};
use super::pool::Center;
use super::{Fetch, RouteKey, Upstream};

impl Upstream {
    /// The centers that may be asked for it, best first.
    pub(super) fn attempts(&self, fetch: &Fetch) -> Attempts {
        let pool = self.pool.load_full();
        let chosen = pool.choose(&fetch.route, Instant::now());
        self.last_choice.note(&pool, &chosen);
        Attempts::new(pool, chosen, Arc::clone(&self.budget), self.metrics.clone(), fetch.is_ahead)
    }

    /// Asks the next center of `attempts` for `path` of the repository and waits for its header. One that cannot be reached,
    /// does not answer in time, fails or has too much to do is followed by the next; the last one's failure is the answer.
    pub(super) async fn ask(
        &self,
        attempts: &mut Attempts,
        method: Method,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Taken, FillError> {
        let mut refused = None;
        let mut failed = None;
        loop {
            let Some(attempt) = attempts.next() else {
                let asked = refused.is_some() || failed.is_some();
                if !asked && attempts.others_trial().await {
                    continue;
                }
                break;
            };
            let url = attempt.center().repository_url(&self.repository, path);
            let request = self.authorized(self.client.request(method.clone(), url).headers(headers.clone()));
            match send(attempts, &attempt, request.timeout(Duration::from_hours(1))).await {
                Ok(response) if is_refusal(response.status()) => refused = Some((response, attempt)),
                Ok(response) => return Ok(Taken { response, attempt }),
                Err(failure) => failed = Some(failure.to_error()),
            }
        }
        // A center's own words say more than a connection that broke.
        match (refused, failed) {
            (Some((response, attempt)), _) => Ok(Taken { response, attempt }),
            (None, Some(error)) => Err(error),
            (None, None) => Err(attempts.nobody()),
        }
    }

    /// Asks a center's administration, outside the limit of fetches: the change feed and the manifest. The center that
    /// answered last is asked as long as it answers.
    pub(crate) async fn ask_api(&self, path_and_query: &str, patience: Duration) -> Result<Response, FillError> {
        let mut failed = None;
        let mut left = self.api_order();
        while let Some(center) = left.next() {
            let url = center.api_url(&self.repository, path_and_query);
            let request = self.authorized(self.client.get(url).header(header::VIA, self.via(None)));
            let others = !left.as_slice().is_empty();
            match patiently(&center, request, patience, others).await {
                Ok(failing) if failing.status().is_server_error() && others => {
                    failed = Some(Failure::ServerError.to_error());
                }
                Ok(failing) if failing.status().is_server_error() => return Ok(failing),
                Ok(response) => {
                    *self.followed.lock() = Some(Arc::downgrade(&center.health));
                    return Ok(response);
                }
                Err(failure) => failed = Some(failure.to_error()),
            }
        }
        Err(failed.unwrap_or_else(|| FillError::new(FillErrorKind::Unavailable, "no center can be asked now")))
    }

    /// The one that answered last, then the others as they would be chosen, then those that should be left alone: changes
    /// are better heard from them than not at all. Not from one that an operator took out.
    fn api_order(&self) -> std::vec::IntoIter<Arc<Center>> {
        let now = Instant::now();
        let pool = self.pool.load_full();
        let mut order = pool.choose(&RouteKey::default(), now).centers;
        let followed = self.followed.lock().as_ref().and_then(std::sync::Weak::upgrade);
        if let Some(at) = order.iter().position(|center| is_of(center, followed.as_ref())) {
            order[..=at].rotate_right(1);
        }
        for center in &pool.centers {
            let taken_out = center.health.vitals().breaker.forced(now).is_some_and(|(open, _)| open);
            if !taken_out && !order.iter().any(|known| Arc::ptr_eq(known, center)) {
                order.push(Arc::clone(center));
            }
        }
        order.into_iter()
    }
}

/// Sends a request and waits for the header, until it is better to ask another center.
async fn send(attempts: &Attempts, attempt: &Attempt, request: RequestBuilder) -> Result<Response, Failure> {
    let started = Instant::now();
    let outcome = wait(attempts, attempt, request, started).await;
    let took = started.elapsed();
    match &outcome {
        Ok(response) => {
            if took >= attempt.slow_after() {
                attempt.is_slow();
            }
            if !response.status().is_server_error() {
                attempt.first_byte(took);
            }
            attempt.judge_status(response.status(), response.headers());
        }
        Err(failure) => {
            tracing::warn!(center = attempt.center().name, ?failure, ?took, "the center could not be asked");
            if *failure == Failure::FirstByte {
                attempt.first_byte(took);
            }
            attempt.failed(*failure);
        }
    }
    outcome
}

async fn wait(
    attempts: &Attempts,
    attempt: &Attempt,
    request: RequestBuilder,
    started: Instant,
) -> Result<Response, Failure> {
    let mut news = attempt.center().health.news();
    let before = *news.borrow_and_update();
    let mut answer = std::pin::pin!(request.send());
    let (mut slow, longest) = (false, attempt.first_byte_within());
    loop {
        let wake = if slow { longest } else { longest.min(attempt.slow_after()) };
        tokio::select! {
            answered = &mut answer => return answered.map_err(|error| {
                tracing::debug!(error = %chain(&error), "no answer");
                Failure::of(&error)
            }),
            () = sleep_until(started + wake) => {
                if started.elapsed() >= longest {
                    return Err(Failure::FirstByte);
                }
                slow = true;
                attempt.is_slow();
            }
            Ok(()) = news.changed() => {}
        }
        if is_doubtful(before, *news.borrow_and_update(), slow) && attempts.has_next() {
            return Err(Failure::FirstByte);
        }
    }
}

fn is_of(center: &Center, health: Option<&Arc<Health>>) -> bool {
    health.is_some_and(|health| Arc::ptr_eq(&center.health, health))
}

/// Sends a request that may take long to be answered, such as a long poll.
async fn patiently(
    center: &Center,
    request: RequestBuilder,
    patience: Duration,
    others: bool,
) -> Result<Response, Failure> {
    let mut news = center.health.news();
    let before = *news.borrow_and_update();
    let gone = async {
        while news.changed().await.is_ok() {
            if is_doubtful(before, *news.borrow_and_update(), true) {
                return;
            }
        }
        // The center left the settings: nothing more will be heard of it.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answered = request.send() => answered.map_err(|error| Failure::of(&error)),
        () = tokio::time::sleep(patience) => Err(Failure::FirstByte),
        () = gone, if others => Err(Failure::FirstByte),
    }
}

/// Whether an answer that has not come will hardly come: others gave up on the center, or it is deaf as well as slow.
fn is_doubtful(before: News, now: News, slow: bool) -> bool {
    now.opened > before.opened || (slow && now.lost > before.lost)
}

/// Whether another center may do better.
fn is_refusal(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// An error with its causes, for the log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
