use std::io;
use std::sync::mpsc;

use serde_json::Value;

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn counter() -> IntCounter {
    IntCounter::new("lost", "lost").unwrap()
}

fn line<'a>(path: &'a str, user_agent: &'a [u8]) -> Line<'a> {
    Line {
        took: Duration::from_micros(1234),
        request_id: "0123456789abcdef",
        method: "GET",
        path,
        version: http::Version::HTTP_11,
        status: 200,
        bytes: 17,
        client: Some("192.0.2.7".parse().unwrap()),
        user_agent: Some(user_agent),
        route: "info",
        cache: Some("hit"),
        broken: None,
    }
}

/// What the sink got when everything was written.
fn written(format: LogFormat, lines: &[Line<'_>]) -> String {
    let sink = Sink::default();
    let log = AccessLog::start(format, counter(), sink.clone());
    for line in lines {
        log.write(line);
    }
    drop(log);
    String::from_utf8(std::mem::take(&mut *sink.0.lock())).unwrap()
}

#[test]
fn every_line_is_an_object_with_the_names_of_the_schema() {
    let nasty = "/a\n{\"x\":1}\u{1b}[2J\u{7f}\u{202e}\"\\";
    let agents: [&[u8]; 3] = [b"Go-http-client/1.1", b"\x00\x01\xff\"\r\n\\", b""];
    let lines: Vec<_> = agents.iter().map(|agent| line(nasty, agent)).collect();
    let text = written(LogFormat::Json, &lines);
    assert_eq!(text.lines().count(), 3, "{text}");
    for (written, agent) in text.lines().zip(agents) {
        let object: Value = serde_json::from_str(written).unwrap();
        assert_eq!(object["url.path"], nasty);
        assert_eq!(object["user_agent.original"], String::from_utf8_lossy(agent).as_ref());
        assert_eq!(object["event.duration"], 1_234_000);
        assert_eq!(object["http.request.method"], "GET");
        assert_eq!(object["http.request.id"], "0123456789abcdef");
        assert_eq!(object["http.response.status_code"], 200);
        assert_eq!(object["http.response.body.bytes"], 17);
        assert_eq!(object["http.version"], "1.1");
        assert_eq!(object["client.address"], "192.0.2.7");
        assert_eq!(object["modtier.cache"], "hit");
        assert_eq!(object["modtier.route"], "info");
        let stamp = object["@timestamp"].as_str().unwrap();
        assert!(humantime::parse_rfc3339(stamp).unwrap().elapsed().unwrap() < Duration::from_mins(1), "{stamp}");
        assert!(object.get("error.message").is_none());
    }
}

#[test]
fn text_is_one_line_that_cannot_steer_a_terminal() {
    let mut broken = line("/a\n\u{1b}[2J", b"a\r\nb\x1b");
    broken.broken = Some("the client\nwent");
    let text = written(LogFormat::Human, &[broken]);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(!text.trim_end().contains(char::is_control), "{text:?}");
    assert!(text.contains("GET /a\\n\\u{1b}[2J HTTP/1.1 200 17 B 1.234 ms hit 192.0.2.7 "), "{text}");
}

#[test]
fn the_password_of_a_whole_url_is_not_written() {
    let text = written(LogFormat::Json, &[line("http://user:secret@host/a/@v/list", b""), line("user:secret@x", b"")]);
    assert!(text.contains("\"url.path\":\"/a/@v/list\"") && !text.contains("secret"), "{text}");
}

#[test]
fn lines_of_many_threads_are_written_whole_and_soon() {
    let sink = Sink::default();
    let log = AccessLog::start(LogFormat::Json, counter(), sink.clone());
    thread::scope(|scope| {
        for number in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for _ in 0..500 {
                    log.write(&line(&format!("/{number}"), b""));
                }
            });
        }
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    // Not by ending: by itself.
    while String::from_utf8_lossy(&sink.0.lock()).lines().count() < 4000 {
        assert!(Instant::now() < deadline);
        thread::yield_now();
    }
    let text = String::from_utf8(sink.0.lock().clone()).unwrap();
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

/// Takes nothing until the other end of the channel is dropped.
struct Stuck(mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_sink_costs_lines_and_no_time() {
    let (release, stuck) = mpsc::channel();
    let lost = counter();
    let log = AccessLog::start(LogFormat::Json, lost.clone(), Stuck(stuck));
    let wordy = format!("/{}", "x".repeat(64 << 10));
    // One buffer may be with the writer, one waits.
    for _ in 0..3 * WAITING_BYTES_MAX / wordy.len() {
        log.write(&line(&wordy, b""));
    }
    assert!(lost.get() > 0);
    assert!(log.0.lanes.iter().all(|lane| lane.lock().lines.len() < WAITING_BYTES_MAX + (128 << 10)));
    drop(release);
}
