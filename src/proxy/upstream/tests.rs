use super::*;
use crate::config::{ClientAddress, Verification};

const IMAP: Asked = Asked::Spoken(Protocol::Imap);

fn upstream(servers: &[&str], balance: Balance) -> Arc<Upstream> {
    probed(servers, balance, None)
}

pub(super) fn probed(
    servers: &[&str],
    balance: Balance,
    health_interval: Option<Duration>,
) -> Arc<Upstream> {
    let server = |server: &&str| {
        let (host, port) = server.split_once(':').unzip();
        ServerAddress::Tcp {
            host: host.unwrap_or(*server).to_owned(),
            port: port.map(|port| port.parse().unwrap()),
        }
    };
    let config = config::Upstream {
        name: "behind".to_owned(),
        servers: servers.iter().map(server).collect(),
        encryption: UpstreamEncryption::Off,
        verification: Verification {
            verify: true,
            trust: Vec::new(),
            server_name: None,
            pin: None,
        },
        client_address: ClientAddress::None,
        connect_timeout: Duration::from_secs(5),
        greeting_timeout: Duration::from_secs(300),
        balance,
        health_interval,
        host: None,
        health_path: None,
    };
    Upstream::new(Arc::new(config), &Metrics::new("0"), Clock::System).unwrap()
}

#[test]
fn a_server_that_was_down_is_tried_again_by_one_connection() {
    let upstream = upstream(&["192.0.2.1", "192.0.2.2"], Balance::LeastConnections);
    let choose =
        |tried: &[bool], seconds| upstream.choose(tried, IMAP, None, Duration::from_secs(seconds));
    let next = |seconds| choose(&[false; 2], seconds);
    let busy = upstream.lease(1);
    assert_eq!(next(0), Some(0), "the fewest connections");

    let down = &upstream.servers[0];
    down.avoid_from(Duration::ZERO);
    upstream.note(down, IMAP, Some(&Failure::Closed));
    assert_eq!(next(9), Some(1));
    assert_eq!(choose(&[false, true], 9), Some(0), "where no other is left");
    let pop3 = upstream.choose(
        &[false; 2],
        Asked::Spoken(Protocol::Pop3),
        None,
        Duration::ZERO,
    );
    assert_eq!(pop3, Some(0), "what is down is IMAP");
    assert_eq!(next(10), Some(0), "it may be back");
    down.avoid_from(Duration::from_secs(10));
    assert_eq!(next(10), Some(1), "one connection is enough to find out");

    upstream.note(down, IMAP, None);
    assert_eq!(next(10), Some(0));
    drop(busy);
}

#[test]
fn where_health_checks_find_out_no_client_has_to() {
    let interval = Some(Duration::from_secs(10));
    let upstream = probed(
        &["192.0.2.1", "192.0.2.2"],
        Balance::LeastConnections,
        interval,
    );
    let next = |seconds| upstream.choose(&[false; 2], IMAP, None, Duration::from_secs(seconds));
    let _busy = upstream.lease(1);
    let down = &upstream.servers[0];
    down.avoid_from(Duration::ZERO);
    upstream.note(down, IMAP, Some(&Failure::Closed));
    assert_eq!(next(3600), Some(1));
    upstream.note(down, IMAP, None);
    assert_eq!(next(3600), Some(0));
}

#[test]
fn a_client_address_keeps_its_server() {
    let upstream = upstream(&["192.0.2.1", "192.0.2.2"], Balance::ClientAddress);
    let choose = |tried: &[bool], client| {
        let client = Some(IpAddr::from(client));
        upstream.choose(tried, IMAP, client, Duration::ZERO)
    };
    let clients: Vec<_> = (0..100).map(|host| [198, 51, 100, host]).collect();
    let first: Vec<_> = clients.iter().map(|c| choose(&[false; 2], *c)).collect();
    for server in 0..2 {
        let share = first.iter().filter(|n| **n == Some(server)).count();
        assert!((20..=80).contains(&share), "{share} of 100 at one of two");
    }
    let _busy = upstream.lease(0);
    let again: Vec<_> = clients.iter().map(|c| choose(&[false; 2], *c)).collect();
    assert_eq!(again, first, "however busy it is");
    assert_eq!(choose(&[true, false], clients[0]), Some(1));
}

#[tokio::test]
async fn where_an_old_client_cannot_go_others_still_can() {
    let upstream = upstream(&["127.0.0.1:1"], Balance::LeastConnections);
    let ask = async |purpose| {
        let request = Request {
            protocol: Protocol::Imap,
            announcement: None,
            own_name: "proxy.example",
            purpose,
        };
        let outcome = upstream.connect(&request).await;
        let refused = ConnectError::Unavailable("refused");
        assert_eq!(outcome.map(|_| ()), Err(refused));
        upstream.status()[0].up
    };
    let in_clear_first = false;
    assert_eq!(ask(Purpose::Legacy { in_clear_first }).await, None);
    assert_eq!(ask(Purpose::Session { hello: None }).await, Some(false));
}
