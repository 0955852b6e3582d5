//! Who a client is, as limits see it.

use std::net::{IpAddr, SocketAddr};

/// A client's network: one IPv4 address, or a /64 of IPv6, which is what one customer of a provider has to himself.
///
/// It comes from the connection, never from a header that a client writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ClientNet {
    /// An IPv4 address, also one that came mapped into IPv6.
    V4(u32),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
    /// A connection that has no address: all of these are one client.
    Unknown,
}

impl ClientNet {
    /// The client at the other end of a connection.
    pub(crate) fn of(address: Option<SocketAddr>) -> Self {
        match address.map(|address| address.ip().to_canonical()) {
            Some(IpAddr::V4(address)) => Self::V4(address.to_bits()),
            Some(IpAddr::V6(address)) => Self::V6((address.to_bits() >> 64) as u64),
            None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(address: &str) -> ClientNet {
        ClientNet::of(Some(SocketAddr::new(address.parse().unwrap(), 1)))
    }

    #[test]
    fn ipv6_counts_by_its_network_and_ipv4_by_its_address() {
        assert_eq!(net("2001:db8:1:2::1"), net("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(net("2001:db8:1:2::1"), net("2001:db8:1:3::1"));
        assert_ne!(net("192.0.2.1"), net("192.0.2.2"));
        // A socket for both families names IPv4 clients like this: they must not become one client.
        assert_eq!(net("::ffff:192.0.2.1"), net("192.0.2.1"));
        assert_ne!(net("::ffff:192.0.2.1"), net("::ffff:192.0.2.2"));
    }
}
