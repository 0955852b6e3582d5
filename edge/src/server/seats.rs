//! How many connections there may be: in all, and from one client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Why a connection is closed as soon as it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// There are as many as there may be.
    Total,
    /// Its client has as many as one may have.
    Client,
}

impl Full {
    /// The reason in figures.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Client => "client",
        }
    }
}

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    clients: HashMap<IpAddr, usize>,
}

/// The place of one connection, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    client: IpAddr,
}

impl Seats {
    /// A place for a connection from `peer`, if there are less than `total_max` connections in all and less than
    /// `client_max` (0: any number) from its client.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr, total_max: usize, client_max: usize) -> Result<Seat, Full> {
        let client = client(peer);
        let mut taken = self.0.lock();
        if taken.total >= total_max {
            return Err(Full::Total);
        }
        let of_client = taken.clients.entry(client).or_default();
        if client_max > 0 && *of_client >= client_max {
            return Err(Full::Client);
        }
        *of_client += 1;
        taken.total += 1;
        Ok(Seat { seats: Arc::clone(self), client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock();
        taken.total -= 1;
        if let Some(of_client) = taken.clients.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                taken.clients.remove(&self.client);
            }
        }
    }
}

/// A client is an IPv4 address or an IPv6 /64, of which every host has as many addresses as it likes.
fn client(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let seats = Arc::new(Seats::default());
        let first = seats.take(address("192.0.2.1"), 2, 0).unwrap();
        let _second = seats.take(address("192.0.2.2"), 2, 0).unwrap();
        assert_eq!(seats.take(address("192.0.2.3"), 2, 0).unwrap_err(), Full::Total);
        drop(first);
        assert!(seats.take(address("192.0.2.3"), 2, 0).is_ok());
    }

    #[test]
    fn one_client_does_not_take_the_places_of_others() {
        let seats = Arc::new(Seats::default());
        let mine: Vec<_> = (0..3).map(|_| seats.take(address("192.0.2.1"), 10, 3).unwrap()).collect();
        assert_eq!(seats.take(address("192.0.2.1"), 10, 3).unwrap_err(), Full::Client);
        assert_eq!(seats.take(address("::ffff:192.0.2.1"), 10, 3).unwrap_err(), Full::Client);
        assert!(seats.take(address("192.0.2.2"), 10, 3).is_ok());
        drop(mine);
        assert!(seats.0.lock().clients.is_empty(), "nothing is kept of clients that have gone");
    }

    #[test]
    fn one_network_of_ipv6_is_one_client() {
        let seats = Arc::new(Seats::default());
        let _seat = seats.take(address("2001:db8::1"), 10, 1).unwrap();
        assert_eq!(seats.take(address("2001:db8::ffff:1"), 10, 1).unwrap_err(), Full::Client);
        assert!(seats.take(address("2001:db8:0:1::1"), 10, 1).is_ok());
    }
}
