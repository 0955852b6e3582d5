//! One client: asks in every way that clients ask, and judges every answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reqwest::{Method, RequestBuilder, Response};

use super::content::{Artefact, Content};
use super::figures::Figures;
use crate::{Reply, Seed, Web};

/// Longest wait for an answer or for its end: a silent center is given up long before.
const PATIENCE: Duration = Duration::from_mins(1);

/// A client with a connection of its own.
pub(super) struct Client {
    web: Web,
    content: Arc<Content>,
    figures: Arc<Figures>,
    random: Seed,
}

/// How a request is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Get,
    Head,
    /// From the first byte to before the second.
    Part(usize, usize),
    /// With the right entity tag, or with another.
    Conditional(bool),
    /// Leaves after so many bytes.
    Leave(usize),
    /// Takes its time.
    Slow,
    /// What no center has.
    Unknown,
}

impl Client {
    pub(super) fn new(goproxy: &str, content: Arc<Content>, figures: Arc<Figures>, random: Seed) -> Self {
        Self { web: Web::new(goproxy), content, figures, random }
    }

    /// Asks until the time is over.
    pub(super) async fn run(mut self, ends_at: Instant) {
        let content = Arc::clone(&self.content);
        while Instant::now() < ends_at {
            let artefact = content.draw(&mut self.random);
            let way = self.way(artefact);
            let told = match tokio::time::timeout(PATIENCE, self.ask(artefact, way)).await {
                Ok(told) => told,
                Err(_) => Err("neither an answer nor an end".to_owned()),
            };
            match told {
                Ok(outcome) => self.figures.count(&outcome),
                Err(what) => self.figures.violation(format!("{way:?} of {}: {what}", artefact.path)),
            }
        }
    }

    fn way(&mut self, artefact: &Artefact) -> Way {
        let len = artefact.bytes.len() as u64;
        let mut below = |end: u64| usize::try_from(self.random.within(0..end.max(1))).unwrap_or_default();
        match below(100) {
            0..10 => Way::Head,
            10..22 if artefact.ranges => {
                let from = below(len);
                Way::Part(from, from + 1 + below(len - from as u64))
            }
            22..32 => Way::Conditional(below(2) == 0),
            32..38 => Way::Leave(below(len)),
            38..40 => Way::Slow,
            40..42 => Way::Unknown,
            _ => Way::Get,
        }
    }

    /// What came of it, or what is wrong with it.
    async fn ask(&self, artefact: &Artefact, way: Way) -> Result<String, String> {
        let path = match way {
            Way::Unknown => format!("soak.example/unknown/{}", artefact.path),
            _ => artefact.path.clone(),
        };
        let request = self.web.request(if way == Way::Head { Method::HEAD } else { Method::GET }, &path);
        let request = match way {
            Way::Part(from, to) => request.header("Range", format!("bytes={from}-{}", to - 1)),
            Way::Conditional(true) => request.header("If-None-Match", &artefact.etag),
            Way::Conditional(false) => request.header("If-None-Match", "\"something else\""),
            _ => request,
        };
        match way {
            Way::Leave(after) => read_some(request, after).await,
            Way::Slow => read_slowly(request, artefact).await,
            _ => judge(&Web::send(request).await?, artefact, way),
        }
    }
}

async fn read_some(request: RequestBuilder, after: usize) -> Result<String, String> {
    let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
    let mut read = 0;
    let mut stream = answer.bytes_stream();
    while let Some(Ok(bytes)) = stream.next().await {
        read += bytes.len();
        if read > after {
            break;
        }
    }
    Ok("left".to_owned())
}

async fn read_slowly(request: RequestBuilder, artefact: &Artefact) -> Result<String, String> {
    let answer: Response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let (status, version, headers) = (answer.status().as_u16(), answer.version(), answer.headers().clone());
    let (mut body, mut complete) = (Vec::new(), true);
    let mut stream = answer.bytes_stream();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(bytes) => body.extend_from_slice(&bytes),
            Err(_) => complete = false,
        }
        if !complete {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    judge(&Reply { status, version, headers, body: body.into(), complete }, artefact, Way::Get)
}

/// The rules. What a broken center may cause: an honest error, or a body that breaks off. Nothing else.
fn judge(reply: &Reply, artefact: &Artefact, way: Way) -> Result<String, String> {
    let told = || format!("{} {:?}, {} bytes", reply.status, reply.header("x-cache"), reply.body.len());
    let right = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}: {}", told())) };
    if !reply.complete {
        return Ok("broke off".to_owned());
    }
    match reply.status {
        200 if way == Way::Head => right(reply.header("etag") == artefact.etag, "another entity tag")?,
        200 => right(way != Way::Unknown && reply.body == artefact.bytes, "other bytes")?,
        206 => {
            let Way::Part(from, to) = way else { return Err(format!("no part was asked for: {}", told())) };
            let named = format!("bytes {from}-{}/{}", to - 1, artefact.bytes.len());
            right(reply.header("content-range") == named, "another range")?;
            right(reply.body == artefact.bytes.slice(from..to), "other bytes")?;
        }
        304 => right(way == Way::Conditional(true), "no such tag was sent")?,
        404 => right(way == Way::Unknown, "said to be absent")?,
        429 | 503 => right(!reply.header("retry-after").is_empty(), "no Retry-After")?,
        502 | 504 => {}
        _ => return Err(format!("an answer that nothing explains: {}", told())),
    }
    Ok(format!("{} {}", reply.status, reply.header("x-cache")).trim().to_owned())
}
