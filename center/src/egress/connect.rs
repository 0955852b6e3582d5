//! `modtier-center egress-connect HOST PORT`: what ssh runs as its `ProxyCommand`.
//!
//! It asks the proxy for the host by CONNECT and then passes on what comes from standard input and goes to standard output.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use super::USER;

/// The variable with the proxy's address and the pass, `ADDRESS SECRET`.
pub(crate) const PASS_VARIABLE: &str = "MODTIER_EGRESS_PASS";

/// Longest answer of the proxy in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct ConnectArguments {
    /// The host that ssh was asked for
    host: String,
    /// Its port
    port: u16,
}

/// Connects and copies until both sides are done.
pub(crate) fn connect(arguments: &ConnectArguments) -> anyhow::Result<()> {
    let pass = std::env::var(PASS_VARIABLE).with_context(|| format!("{PASS_VARIABLE} is not set"))?;
    let (address, secret) = pass.split_once(' ').with_context(|| format!("{PASS_VARIABLE} is malformed"))?;
    let mut stream = TcpStream::connect(address).context("the egress proxy cannot be reached")?;
    let target = format!("{}:{}", arguments.host, arguments.port);
    let credential = STANDARD.encode(format!("{USER}:{secret}"));
    write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {credential}\r\n\r\n")?;
    let answer = read_answer(&mut stream)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        bail!("the egress proxy answers {}", answer.lines().next().unwrap_or_default());
    }
    let mut upwards = stream.try_clone()?;
    std::thread::spawn(move || {
        let copied = io::copy(&mut io::stdin().lock(), &mut upwards);
        // The server may still have something to say.
        let _ = upwards.shutdown(Shutdown::Write);
        copied
    });
    let mut output = io::stdout().lock();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        output.write_all(&chunk[..count])?;
        // Standard output keeps lines back; ssh waits for every byte.
        output.flush()?;
    }
}

fn read_answer(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == ANSWER_BYTES_MAX {
            bail!("the egress proxy's answer has no end");
        }
        let mut byte = [0];
        stream.read_exact(&mut byte).context("the egress proxy ended the connection")?;
        answer.extend_from_slice(&byte);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
