use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::*;
use crate::digest::Digest;

fn flights(dir: &tempfile::TempDir) -> Flights<&'static str, &'static str> {
    Flights::new(dir.path(), tokio::runtime::Handle::current())
}

fn body(len: usize) -> Bytes {
    (0..len).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect()
}

async fn collect<H>(mut reader: Reader<H>) -> (Vec<u8>, Result<(), FillError>) {
    let mut got = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(chunk)) => got.extend_from_slice(&chunk),
            Ok(None) => return (got, Ok(())),
            Err(error) => return (got, Err(error)),
        }
    }
}

async fn write_all<H>(writer: &mut FillWriter<H>, body: &Bytes, chunk: usize) {
    let mut rest = body.clone();
    while !rest.is_empty() {
        let next = rest.split_to(chunk.min(rest.len()));
        writer.write(next).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_gets_the_body_early_or_late() {
    for len in [0, 1, 65_535, 65_536, 65_537, 300_000, 3_000_000] {
        let dir = tempfile::tempdir().unwrap();
        let whole = body(len);
        let expected = whole.clone();
        let (fill, joined) = flights(&dir).join("k", |mut writer| async move {
            writer.head("head");
            write_all(&mut writer, &whole, 10_007).await;
            let spooled = writer.seal();
            assert_eq!((spooled.len(), spooled.digest()), (whole.len() as u64, Digest::of(&whole)));
            writer.commit();
        });
        assert_eq!(joined, Joined::Started);
        let early: Vec<_> = (0..8).map(|_| tokio::spawn(collect(fill.reader()))).collect();
        assert_eq!(*fill.head().await.unwrap(), "head");
        fill.done().await.unwrap();
        for reader in early {
            assert_eq!(reader.await.unwrap(), (expected.to_vec(), Ok(())), "{len} bytes");
        }
        let late = collect(fill.reader()).await;
        assert_eq!(late, (expected.to_vec(), Ok(())), "{len} bytes, after the end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_waits_for_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let whole = body(200_000);
    let sent = whole.clone();
    let (written, is_written) = oneshot::channel();
    let (allow, allowed) = oneshot::channel::<()>();
    let (fill, _) = flights(&dir).join("k", |mut writer| async move {
        write_all(&mut writer, &sent, 50_000).await;
        written.send(()).unwrap();
        allowed.await.unwrap();
        writer.commit();
    });
    is_written.await.unwrap();
    assert_eq!(fill.released_len(), 200_000 - TAIL);
    allow.send(()).unwrap();
    assert_eq!(collect(fill.reader()).await, (whole.to_vec(), Ok(())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fill_has_no_clean_end_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let (fill, _) = flights(&dir).join("k", |mut writer| async move {
        write_all(&mut writer, &body(200_000), 50_000).await;
        drop(writer.seal());
        writer.fail(FillError::new(FillErrorKind::Integrity, "wrong bytes"));
    });
    let (got, end) = collect(fill.reader()).await;
    assert!(got.len() as u64 <= 200_000 - TAIL);
    assert_eq!(end.unwrap_err().kind, FillErrorKind::Integrity);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_fill_fails_its_readers_and_the_next_one_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let flights = flights(&dir);
    let (fill, _) = flights.join("k", |writer| async move {
        let _writer = writer;
        panic!("the filling task breaks");
    });
    assert_eq!(fill.head().await.unwrap_err().kind, FillErrorKind::Abandoned);
    let (fill, joined) = flights.join("k", |writer| async move { writer.commit() });
    assert_eq!(joined, Joined::Started);
    fill.done().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_makes_one_flight_which_survives_its_first_client() {
    let dir = tempfile::tempdir().unwrap();
    let flights = Arc::new(flights(&dir));
    let started = Arc::new(AtomicUsize::new(0));
    let (allow, allowed) = oneshot::channel::<()>();
    let count = Arc::clone(&started);
    let (first, _) = flights.join("k", |mut writer| async move {
        count.fetch_add(1, Ordering::SeqCst);
        allowed.await.unwrap();
        writer.write(Bytes::from_static(b"body")).await.unwrap();
        writer.commit();
    });
    let followers: Vec<_> = (0..100)
        .map(|_| {
            let (fill, joined) = flights.join("k", |_| async { unreachable!("a second flight") });
            assert_eq!(joined, Joined::Coalesced);
            tokio::spawn(collect(fill.reader()))
        })
        .collect();
    drop(first);
    allow.send(()).unwrap();
    for follower in followers {
        assert_eq!(follower.await.unwrap(), (b"body".to_vec(), Ok(())));
    }
    assert_eq!(started.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_has_a_part_of_can_be_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (fill, _) = flights(&dir).join("k", |mut writer| async move {
        write_all(&mut writer, &body(60_000), 7_000).await;
        assert!(!writer.is_released());
        writer.restart();
        assert_eq!((writer.written(), writer.digest_so_far()), (0, Digest::of(b"")));
        let other: Bytes = body(200_000).iter().rev().copied().collect();
        write_all(&mut writer, &other, 50_000).await;
        assert!(writer.is_released());
        assert_eq!(writer.seal().digest(), Digest::of(&other));
        writer.commit();
    });
    let other: Vec<u8> = body(200_000).iter().rev().copied().collect();
    assert_eq!(collect(fill.reader()).await, (other, Ok(())));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_knows_whether_anybody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let flights = flights(&dir);
    let (ask, mut asked) = tokio::sync::mpsc::channel::<oneshot::Sender<bool>>(1);
    let (fill, _) = flights.join("k", |mut writer| async move {
        writer.head("head");
        while let Some(answer) = asked.recv().await {
            answer.send(writer.is_followed()).unwrap();
        }
        writer.commit();
    });
    let is_followed = async || {
        let (answer, answered) = oneshot::channel();
        ask.send(answer).await.unwrap();
        answered.await.unwrap()
    };
    assert!(!is_followed().await);
    let reader = fill.reader();
    assert!(is_followed().await);
    drop(reader);
    assert!(!is_followed().await);
    assert!(Arc::ptr_eq(&fill, &flights.under_way(&"k").unwrap()));
    drop(ask);
    fill.done().await.unwrap();
    assert!(flights.under_way(&"k").is_none());
}
