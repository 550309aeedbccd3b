//! IP networks as they are written, `ADDRESS/LENGTH`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IP network, `ADDRESS/LENGTH`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Network {
    /// Its address, host bits zero.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub prefix: u8,
}

/// Why a text is not a network.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NetworkError {
    /// Neither `ADDRESS` nor `ADDRESS/LENGTH`.
    #[error("expected ADDRESS or ADDRESS/LENGTH")]
    Malformed,
    /// A prefix longer than the address.
    #[error("expected a length from 0 to {0}")]
    PrefixTooLong(u8),
    /// Bits are set to the right of the prefix.
    #[error("expected \"{0}\", with no bit set right of the prefix")]
    HostBits(Network),
}

impl Network {
    /// Whether the address lies in this network. An IPv4 address in IPv6 form counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && network_bits(address, self.prefix) == self.address
    }

    /// Whether every address of its family lies in it.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

/// The address with every bit right of the prefix set to zero.
fn network_bits(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix));
            Ipv4Addr::from_bits(v4.to_bits() & mask.unwrap_or(0)).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix));
            Ipv6Addr::from_bits(v6.to_bits() & mask.unwrap_or(0)).into()
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// A bare address is a network of one; an IPv4 network in IPv6 form becomes IPv4.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), read_prefix)?;
        if prefix > longest {
            return Err(NetworkError::PrefixTooLong(longest));
        }
        let network = Self {
            address: network_bits(address, prefix),
            prefix,
        };
        if network.address == address {
            Ok(network.unmapped())
        } else {
            Err(NetworkError::HostBits(network.unmapped()))
        }
    }
}

impl Network {
    fn unmapped(self) -> Self {
        match (self.address.to_canonical(), self.prefix.checked_sub(96)) {
            (address @ IpAddr::V4(_), Some(prefix)) if self.address.is_ipv6() => {
                Self { address, prefix }
            }
            _ => self,
        }
    }
}

/// Digits alone: `u8::from_str` would take a sign.
fn read_prefix(text: &str) -> Result<u8, NetworkError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NetworkError::Malformed);
    }
    Ok(text.parse().unwrap_or(u8::MAX))
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{Network, NetworkError};

    #[test]
    fn texts() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("::1", "::1/128"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn faults() {
        for text in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0/8",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "fe80::1%lo/64",
            "localhost",
            " 10.0.0.0/8",
            "[::1]/128",
        ] {
            assert_eq!(
                text.parse::<Network>(),
                Err(NetworkError::Malformed),
                "{text}"
            );
        }
        for (text, longest) in [("10.0.0.0/33", 32), ("10.0.0.0/999", 32), ("::/129", 128)] {
            let expected = Err(NetworkError::PrefixTooLong(longest));
            assert_eq!(text.parse::<Network>(), expected, "{text}");
        }
        for (text, corrected) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("::ffff:10.0.0.1/104", "10.0.0.0/8"),
        ] {
            let expected = Err(NetworkError::HostBits(corrected.parse().unwrap()));
            assert_eq!(text.parse::<Network>(), expected, "{text}");
        }
    }

    #[test]
    fn contains() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.0", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "10.0.0.1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                expected,
                "{network} {address}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_network_holds_the_address_it_was_made_of(v6 in any::<bool>(), bits in any::<u128>(), prefix in 0..=128_u8) {
            let (address, prefix) = if v6 {
                (IpAddr::V6(Ipv6Addr::from_bits(bits)), prefix)
            } else {
                (IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32)), prefix % 33)
            };
            let network = match format!("{address}/{prefix}").parse::<Network>() {
                Ok(network) | Err(NetworkError::HostBits(network)) => network,
                Err(other) => panic!("{other}"),
            };
            prop_assert!(network.contains(address));
            prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
        }
    }
}
