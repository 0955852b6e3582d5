//! HTTP/2 as an attacker speaks it: the stream or the connection ends, memory stays bounded, others are served.

use std::time::Duration;

use modtier_tests::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RESET, STATUS_200, WINDOW, encode, get_block,
    literal, named,
};
use modtier_tests::{Cluster, Module, Origin, Web};

const LIST: &str = "/example.com/a/@v/list";
const ZIP: &str = "/example.com/a/@v/v1.0.0.zip";
const LIMIT: Duration = Duration::from_secs(10);

/// What one attack may make the edge grow.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

async fn edge() -> (Origin, Cluster) {
    let origin = Origin::start().await;
    origin.publish(&Module::new("example.com/a", "v1.0.0").package().ballast(300_000, 1).build());
    let cluster = Cluster::of(&origin)
        .edge_env("MODTIER_EDGE_H2C_LISTEN", "127.0.0.1:0")
        .edge_env("MODTIER_EDGE_LIMITS_CLIENT_WRITE", "2s")
        .start()
        .await;
    for path in [LIST, ZIP] {
        assert_eq!(other(&cluster).get(&path[1..]).await.status, 200);
    }
    (origin, cluster)
}

fn other(cluster: &Cluster) -> Web {
    Web::with(&cluster.h2c_url(), reqwest::ClientBuilder::http2_prior_knowledge)
}

async fn assert_bounded(cluster: &mut Cluster, before: u64) {
    assert_eq!(other(cluster).get(&LIST[1..]).await.status, 200, "others are served");
    let grown = cluster.edge.memory_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");
    assert!(cluster.edge.exited().is_none() && !cluster.edge.log().contains("panicked at"), "{}", cluster.edge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_are_refused_and_those_within_it_are_served() {
    let (_origin, mut cluster) = edge().await;
    let before = cluster.edge.memory_bytes();
    // Without a window no response can end, so all streams stay open.
    let mut client = Frames::connect(&cluster.h2c_url(), 0).await;
    for nth in 0..150 {
        assert!(client.get(2 * nth + 1, LIST).await);
    }
    let mut refused = Vec::new();
    while refused.len() < 50 {
        let frame = client.next(LIMIT).await.expect("the excess is refused");
        assert_ne!(frame.kind, GOAWAY, "{frame:?}");
        if frame.kind == RESET {
            assert_eq!(frame.payload, [0, 0, 0, 7], "REFUSED_STREAM: the client may try again");
            refused.push(frame.stream);
        }
    }
    assert!(refused.iter().all(|stream| *stream > 199), "{refused:?}");
    assert!(client.send(WINDOW, 0, 1, &1000_u32.to_be_bytes()).await);
    let frames = client.until(LIMIT, |frame| frame.stream == 1 && frame.flags & END_STREAM != 0).await;
    let body: Vec<u8> = frames
        .iter()
        .filter(|frame| frame.stream == 1 && frame.kind == DATA)
        .flat_map(|frame| frame.payload.clone())
        .collect();
    assert_eq!(body, b"v1.0.0\n");
    assert_bounded(&mut cluster, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_gets_no_window_is_reset_and_its_neighbour_is_served() {
    let (_origin, mut cluster) = edge().await;
    let before = cluster.edge.memory_bytes();
    let mut client = Frames::connect(&cluster.h2c_url(), 0).await;
    assert!(client.get(1, ZIP).await && client.get(3, LIST).await);
    assert!(client.send(WINDOW, 0, 3, &1000_u32.to_be_bytes()).await);
    let frames = client.until(LIMIT, |frame| frame.kind == RESET).await;
    assert!(frames.iter().any(|frame| frame.stream == 3 && frame.kind == HEADERS && frame.payload[0] == STATUS_200));
    assert!(frames.iter().any(|frame| frame.stream == 3 && frame.payload == b"v1.0.0\n"), "{frames:?}");
    let reset = frames.last().unwrap();
    assert_eq!((reset.kind, reset.stream), (RESET, 1), "{frames:?}");
    let ended = frames.iter().any(|frame| frame.stream == 1 && frame.kind != RESET && frame.flags & END_STREAM != 0);
    assert!(!ended, "a body that broke off has no end");
    // The connection lives.
    assert!(client.get(5, LIST).await && client.send(WINDOW, 0, 5, &1000_u32.to_be_bytes()).await);
    let frames = client.until(LIMIT, |frame| frame.stream == 5 && frame.flags & END_STREAM != 0).await;
    assert!(frames.iter().any(|frame| frame.payload == b"v1.0.0\n"), "{frames:?}");
    assert_bounded(&mut cluster, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_without_end_ends_the_connection() {
    let (_origin, mut cluster) = edge().await;
    let before = cluster.edge.memory_bytes();
    let mut client = Frames::connect(&cluster.h2c_url(), 65_535).await;
    assert!(client.send(HEADERS, END_STREAM, 1, &get_block(LIST)).await);
    let field = named("x-flood", &"a".repeat(100));
    let piece = encode(CONTINUATION, 0, 1, &field.repeat(150));
    let mut sent = 0;
    while sent < 100_000 && client.write(&piece).await {
        sent += 1;
    }
    assert!(sent < 100_000, "the server takes {sent} pieces of one header");
    assert_bounded(&mut cluster, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_cost_little() {
    let (_origin, mut cluster) = edge().await;
    let before = cluster.edge.memory_bytes();
    let mut client = Frames::connect(&cluster.h2c_url(), 65_535).await;
    for burst in 0..200_u32 {
        let mut bytes = Vec::new();
        for nth in 0..100 {
            let stream = 2 * (burst * 100 + nth) + 1;
            bytes.extend(encode(HEADERS, END_HEADERS | END_STREAM, stream, &get_block(ZIP)));
            bytes.extend(encode(RESET, 0, stream, &8_u32.to_be_bytes()));
        }
        if !client.write(&bytes).await {
            break;
        }
        if burst % 50 == 0 {
            assert_eq!(other(&cluster).get(&LIST[1..]).await.status, 200, "others are served meanwhile");
        }
    }
    assert_bounded(&mut cluster, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_header_that_unpacks_to_a_large_one_is_refused() {
    let (_origin, mut cluster) = edge().await;
    let before = cluster.edge.memory_bytes();
    let mut client = Frames::connect(&cluster.h2c_url(), 65_535).await;
    let mut block = get_block(LIST);
    // A field of 4,000 bytes into the dynamic table, where it is number 62, and then 10,000 times that number.
    block.extend([0x40, 1, b'x', 0x7f]);
    block.extend([0xa1, 0x1e]);
    block.extend(std::iter::repeat_n(b'y', 4000));
    block.extend(std::iter::repeat_n(0xbe, 10_000));
    assert!(client.send(HEADERS, END_HEADERS | END_STREAM, 1, &block).await);
    let frames = client.until(LIMIT, |frame| matches!(frame.kind, GOAWAY | RESET) || frame.stream == 1).await;
    let served = frames.iter().any(|frame| frame.kind == HEADERS && frame.payload[0] == STATUS_200);
    assert!(!served && !frames.is_empty(), "{frames:?}");
    assert_bounded(&mut cluster, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_end_their_streams_and_too_many_the_connection() {
    let (_origin, mut cluster) = edge().await;
    let before = cluster.edge.memory_bytes();
    let path = literal(&[0x04], LIST);
    let authority = literal(&[0x01], "modtier");
    let with = |more: Vec<u8>| [get_block(LIST), more].concat();
    let malformed = [
        [vec![0x82, 0x86], authority.clone()].concat(),
        [vec![0x82, 0x82, 0x86], path.clone(), authority.clone()].concat(),
        [vec![0x86], path.clone(), authority.clone()].concat(),
        [vec![0x82, 0x86], named("x", "y"), path.clone(), authority.clone()].concat(),
        [vec![0x82, 0x86], path.clone(), path, authority.clone()].concat(),
        [vec![0x82, 0x86], literal(&[0x04], "example.com/a/@v/list"), authority.clone()].concat(),
        [vec![0x82, 0x86], literal(&[0x04], ""), authority].concat(),
        with(named("X-Upper", "y")),
        with(named("connection", "keep-alive")),
        with(named("transfer-encoding", "chunked")),
        with(named("te", "gzip")),
        with(named("upgrade", "h2c")),
        with(named(":unknown", "y")),
        with(named("x", "a\nb")),
        with(named("host", "elsewhere")),
        with([named("content-length", "1"), named("content-length", "2")].concat()),
    ];
    let mut client = Frames::connect(&cluster.h2c_url(), 65_535).await;
    let mut stream = 1;
    let mut served = 0;
    for block in &malformed {
        if !client.send(HEADERS, END_HEADERS | END_STREAM, stream, block).await {
            break;
        }
        let frames =
            client.until(LIMIT, |frame| frame.kind == GOAWAY || (frame.stream == stream && frame.kind != WINDOW)).await;
        let ok = frames
            .iter()
            .any(|frame| frame.stream == stream && frame.kind == HEADERS && frame.payload.first() == Some(&STATUS_200));
        assert!(!ok, "served: {block:?}");
        // A connection error is an answer as well; the next one is tried on a new connection.
        if frames.last().is_none_or(|frame| frame.kind == GOAWAY) {
            client = Frames::connect(&cluster.h2c_url(), 65_535).await;
            stream = 1;
            continue;
        }
        // The neighbour is served.
        stream += 2;
        assert!(client.get(stream, LIST).await);
        let frames = client.until(LIMIT, |frame| frame.stream == stream && frame.flags & END_STREAM != 0).await;
        assert!(frames.iter().any(|frame| frame.payload == b"v1.0.0\n"), "after {block:?}: {frames:?}");
        served += 1;
        stream += 2;
    }
    assert!(served > 0, "some only end their stream");
    let mut client = Frames::connect(&cluster.h2c_url(), 65_535).await;
    let mut sent = 0;
    while sent < 5_000 && client.send(HEADERS, END_HEADERS | END_STREAM, 2 * sent + 1, &malformed[0]).await {
        sent += 1;
    }
    assert!(sent < 5_000, "the server takes {sent} malformed requests of one connection");
    assert_bounded(&mut cluster, before).await;
}
