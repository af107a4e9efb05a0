//! Hello extensions that change what may be sent: record sizes (RFC 6066 §4, RFC 8449) and server names (RFC 6066 §3).

mod support;

use std::time::Duration;

use dtls_psk::{AlertDescription, Config, ConfigField, Error, HostLookup, MaxFragmentLength, PskStore};

use support::craft::*;
use support::parse;
use support::raw::{RawClient, client_extensions};
use support::world::{AgainstRaw, Note, Small, leak, path, psk};
use support::{IDENTITY, KEY};

const LENGTHS: [(MaxFragmentLength, u8, usize); 4] = [
    (MaxFragmentLength::Bytes512, 1, 512),
    (MaxFragmentLength::Bytes1024, 2, 1_024),
    (MaxFragmentLength::Bytes2048, 3, 2_048),
    (MaxFragmentLength::Bytes4096, 4, 4_096),
];

fn raw_client(extensions: &[(u16, Vec<u8>)]) -> RawClient {
    let mut raw = RawClient::new(IDENTITY, KEY, 1);
    raw.hello.extensions.as_mut().unwrap().extend_from_slice(extensions);
    raw
}

/// What the server sends `raw` as a longest payload, and that it takes as much.
#[track_caller]
fn longest(world: &mut Small, raw: &mut RawClient) -> [usize; 2] {
    let mut buf = vec![0; 20_000];
    let Err(Error::PayloadTooLong { max: to_client }) = world.server.send(&path(0), &[0; 16_385], &mut buf)
    else {
        panic!("there is a limit to everything")
    };
    world.server.send(&path(0), &vec![0; to_client], &mut buf).unwrap();
    let takes = |world: &mut Small, raw: &mut RawClient, len| {
        let told = world.log.len();
        let datagram = raw.side.data(&vec![1; len]);
        world.hit(path(0), &datagram);
        world.log.len() > told
    };
    let to_server = [512, 1_024, 2_048, 4_096, 100, 1_000, 16_384];
    let taken = to_server.into_iter().filter(|len| takes(world, raw, *len) && !takes(world, raw, len + 1));
    let taken: Vec<_> = taken.collect();
    assert_eq!(taken.len(), 1, "{taken:?}");
    [to_client, taken[0]]
}

#[test]
fn a_server_does_what_clients_ask_for() {
    for (_, number, len) in LENGTHS {
        let mut world = Small::new(1);
        let mut raw = raw_client(&[(EXT_MAX_FRAGMENT_LENGTH, vec![number])]);
        world.raw_handshake(path(0), &mut raw);
        assert_eq!(extension(&raw.server_extensions, EXT_MAX_FRAGMENT_LENGTH), Some(vec![number]));
        assert_eq!(longest(&mut world, &mut raw), [len, len]);
    }
    for (limit, effective) in [(64, 64), (512, 512), (16_384, 16_384), (16_385, 16_384), (65_535, 16_384)] {
        let mut world = Small::new(1);
        let mut raw = raw_client(&[(EXT_RECORD_SIZE_LIMIT, u16::to_be_bytes(limit).to_vec())]);
        world.raw_handshake(path(0), &mut raw);
        let answer = extension(&raw.server_extensions, EXT_RECORD_SIZE_LIMIT);
        assert_eq!(answer, Some(16_384_u16.to_be_bytes().to_vec()), "its own limit, not the client's");
        assert_eq!(longest(&mut world, &mut raw), [effective, 16_384]);
    }
    // With a limit of its own, and both asked for: the newer extension alone is answered (RFC 8449 §5).
    let mut world = Small::with_config(1, support::DTLS12.with_record_size_limit(100));
    let mut raw = raw_client(&[(EXT_MAX_FRAGMENT_LENGTH, vec![1]), (EXT_RECORD_SIZE_LIMIT, vec![3, 232])]);
    world.raw_handshake(path(0), &mut raw);
    assert_eq!(raw.server_extension_types(), [EXT_RENEGOTIATION_INFO, EXT_EMS, EXT_RECORD_SIZE_LIMIT]);
    assert_eq!(longest(&mut world, &mut raw), [1_000, 100]);
}

#[test]
fn sizes_that_are_none() {
    for extension in [
        (EXT_MAX_FRAGMENT_LENGTH, vec![0]),
        (EXT_MAX_FRAGMENT_LENGTH, vec![5]),
        (EXT_MAX_FRAGMENT_LENGTH, vec![]),
        (EXT_MAX_FRAGMENT_LENGTH, vec![1, 1]),
        (EXT_RECORD_SIZE_LIMIT, vec![0, 63]),
        (EXT_RECORD_SIZE_LIMIT, vec![200]),
        (EXT_RECORD_SIZE_LIMIT, vec![0, 1, 0]),
    ] {
        let mut world = Small::new(2);
        let hello = raw_client(std::slice::from_ref(&extension)).hello();
        assert!(world.hit(path(0), &hello).is_empty(), "{extension:?}");
        assert_eq!(world.server.stats().dropped, 1);

        let both =
            support::DTLS12.with_max_fragment_length(MaxFragmentLength::Bytes512).with_record_size_limit(512);
        let mut against = AgainstRaw::with_config(2, both);
        against.server.hello.extensions.as_mut().unwrap().push(extension);
        against.hello();
        let flight = against.server.flight(None);
        let alert = parse::plain_alert(&against.hit(&flight)[0]);
        assert!(matches!(against.client.log.as_slice(), [Note::Failed(Error::InvalidMessage(_))]));
        assert!(matches!(alert, Some((2, 47 | 50))), "{alert:?}");
    }
}

/// What a client makes of the answers.
#[test]
fn a_client_asks_for_short_records() {
    let length = support::DTLS12.with_max_fragment_length(MaxFragmentLength::Bytes1024);
    let limit = support::DTLS12.with_record_size_limit(300);
    let both = length.with_record_size_limit(300);
    let (mfl, rsl) = (EXT_MAX_FRAGMENT_LENGTH, EXT_RECORD_SIZE_LIMIT);
    // What the server answers, and how long a payload the client sends and takes then.
    for (config, answer, longest) in [
        (length, vec![(mfl, vec![2])], Ok([1_024, 1_024])),
        (length, vec![], Ok([16_384, 16_384])),
        (limit, vec![(rsl, vec![0, 200])], Ok([200, 300])),
        (limit, vec![], Ok([16_384, 16_384])),
        (both, vec![(rsl, vec![0, 200])], Ok([200, 300])),
        (both, vec![(mfl, vec![2])], Ok([1_024, 1_024])),
        // Another length than was asked for, both at once, and what nobody has asked for.
        (length, vec![(mfl, vec![1])], Err(AlertDescription::ILLEGAL_PARAMETER)),
        (both, vec![(mfl, vec![2]), (rsl, vec![0, 200])], Err(AlertDescription::ILLEGAL_PARAMETER)),
        (length, vec![(rsl, vec![0, 200])], Err(AlertDescription::UNSUPPORTED_EXTENSION)),
        (limit, vec![(mfl, vec![2])], Err(AlertDescription::UNSUPPORTED_EXTENSION)),
        (support::DTLS12, vec![(rsl, vec![0, 200])], Err(AlertDescription::UNSUPPORTED_EXTENSION)),
        (support::DTLS12, vec![(EXT_SERVER_NAME, vec![])], Err(AlertDescription::UNSUPPORTED_EXTENSION)),
    ] {
        let mut against = AgainstRaw::with_config(3, config);
        against.server.hello.extensions.as_mut().unwrap().extend_from_slice(&answer);
        match longest {
            Ok([send, receive]) => {
                against.establish();
                let mut buf = vec![0; 20_000];
                let refused = against.client.connection.send(&vec![0; send + 1], &mut buf);
                assert_eq!(refused, Err(Error::PayloadTooLong { max: send }), "{answer:?}");
                against.client.connection.send(&vec![0; send], &mut buf).unwrap();
                for (len, events) in [(receive, 1), (receive + 1, 0)] {
                    let mut datagram = against.server.side.data(&vec![5; len]);
                    assert_eq!(against.client.connection.receive(&mut datagram, against.now).count(), events);
                }
            }
            Err(alert) => {
                against.hello();
                let flight = against.server.flight(None);
                let answers = against.hit(&flight);
                assert_eq!(parse::plain_alert(&answers[0]), Some((2, alert.0)), "{answer:?}");
            }
        }
    }
}

/// Two sites with keys of their own, on one socket.
struct Sites;

impl PskStore for Sites {
    fn with_key(&self, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
        self.with_host_key(None, identity, lend);
    }

    fn host(&self, server_name: &[u8]) -> HostLookup {
        match server_name {
            b"north.example" => HostLookup::Found(0),
            b"south.example" => HostLookup::Found(1),
            _ => HostLookup::Unrecognized,
        }
    }

    fn with_host_key(&self, host: Option<u16>, _: &[u8], lend: &mut dyn FnMut(&[u8])) {
        lend(match host {
            Some(0) => b"key of the north",
            Some(_) => b"key of the south",
            None => b"key without a name",
        });
    }
}

#[test]
fn server_names_choose_among_keys() {
    for (name, key, works) in [
        (Some("north.example"), &b"key of the north"[..], true),
        (Some("south.example"), b"key of the south", true),
        (Some("south.example"), b"key of the north", false),
        (None, b"key without a name", true),
        (None, b"key of the north", false),
    ] {
        let mut world = Small::with_store(4, &Sites);
        let config = name.map_or(support::DTLS12, |name| support::DTLS12.with_server_name(name));
        let client = world.client_with(config, psk(b"client1", key), path(0));
        world.run_for(Duration::from_secs(61));
        assert_eq!(world.clients[client].is_established(), works, "{name:?}");
    }
    let mut world = Small::with_store(4, &Sites);
    let config = support::DTLS12.with_server_name("west.example");
    let client = world.client_with(config, psk(b"client1", KEY), path(0));
    world.run_for(Duration::from_secs(61));
    let expected = Error::AlertReceived(AlertDescription::UNRECOGNIZED_NAME);
    assert_eq!(world.clients[client].log, [Note::Failed(expected)]);
    assert_eq!(world.log_of(path(0)), [Note::Refused(Error::UnrecognizedName)]);
    assert_eq!(world.server.handshakes(), 0);
}

/// A store that takes names acknowledges them; one that does not is silent about it (RFC 6066 §3).
#[test]
fn server_names_on_the_wire() {
    let list = |entries: &[(u8, &[u8])]| {
        vec16(
            &entries.iter().flat_map(|(kind, name)| [vec![*kind], vec16(name)].concat()).collect::<Vec<_>>(),
        )
    };
    let good = list(&[(0, b"north.example")]);
    for (store, acknowledged) in
        [(leak(Sites) as &'static dyn PskStore, true), (leak(psk(IDENTITY, KEY)), false)]
    {
        let mut world = Small::with_store(5, store);
        let mut raw = raw_client(&[(EXT_SERVER_NAME, good.clone())]);
        world.raw_hello(path(0), &mut raw);
        let answer = extension(&raw.server_extensions, EXT_SERVER_NAME);
        assert_eq!(answer, acknowledged.then(Vec::new));
    }
    // Names of other types are passed over; malformed lists are not.
    let mut world = Small::with_store(5, &Sites);
    let mut raw = raw_client(&[(EXT_SERVER_NAME, list(&[(7, b"?"), (0, b"south.example")]))]);
    world.raw_hello(path(0), &mut raw);
    for bad in [
        vec![],
        list(&[]),
        list(&[(0, b"")]),
        list(&[(0, b"a"), (0, b"b")]),
        list(&[(7, b"no host name")]),
        [good.clone(), vec![0]].concat(),
        good[..good.len() - 1].to_vec(),
        vec![0, 3, 0, 0, 9],
    ] {
        let hello = raw_client(&[(EXT_SERVER_NAME, bad.clone())]).hello();
        assert!(world.hit(path(1), &hello).is_empty(), "{bad:?}");
    }
    // What our client writes.
    let config =
        Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_server_name("north.example");
    let mut against = AgainstRaw::with_config(5, config);
    let hello = against.client.transmit();
    assert_eq!(hello[0].len(), 75 + 9 + "north.example".len());
    let hello = against.server.take_hello(&hello);
    assert_eq!(extension(&client_extensions(&hello.body), EXT_SERVER_NAME), Some(good));
}

/// Offered at once, each costs what it costs, and the longest hello fits into what is reckoned with.
#[test]
fn bytes_of_everything() {
    let config = Config::coap()
        .with_versions(&[dtls_psk::ProtocolVersion::Dtls12])
        .with_server_name("0123456789")
        .with_max_fragment_length(MaxFragmentLength::Bytes512)
        .with_record_size_limit(512);
    let mut against = AgainstRaw::with_config(6, config);
    assert_eq!(against.client.transmit()[0].len(), 75 + 19 + 5 + 6);

    let name: &'static str = leak("n".repeat(128));
    let longest = support::DTLS12.with_server_name(name).with_record_size_limit(64).with_mtu(65_535);
    let mut against = AgainstRaw::with_config(6, longest);
    against.hello();
    let request = against.server.hello_verify_request(DTLS12, &[3; 255]);
    let hello = against.hit(&request);
    assert_eq!(hello.len(), 1);
    against.server.take_hello(&hello);
    let flight = against.server.flight(None);
    let answer = against.hit(&flight);
    against.server.take_key_flight(&answer);
}

#[test]
fn configurations_that_cannot_be() {
    let refused = |config: Config<'_>, field| {
        assert_eq!(config.validate(), Err(Error::InvalidConfig(field)), "{field}");
    };
    for name in ["", leak("n".repeat(129)).as_str(), "ä"] {
        refused(support::DTLS12.with_server_name(name), ConfigField::ServerName);
    }
    for limit in [0, 63, 16_385, u16::MAX] {
        refused(support::DTLS12.with_record_size_limit(limit), ConfigField::RecordSizeLimit);
    }
    for limit in [0, 1] {
        refused(support::DTLS12.with_ccm_8_forgery_limit(limit), ConfigField::Ccm8ForgeryLimit);
    }
    refused(
        Config::coap()
            .with_versions(&[dtls_psk::ProtocolVersion::Dtls12])
            .with_mtu(Config::MIN_MTU)
            .with_server_name("a"),
        ConfigField::Mtu,
    );
}
