//! How often a key of DTLS 1.3 may be used, and that there is another one in time (RFC 9147 §4.5.3).
#![cfg(feature = "dtls13")]

mod support;

use std::time::Duration;

use dtls_psk::{AeadAlgorithm, AeadError, CipherSuite, Config, CryptoProvider, Error, KeyUsage};

use support::craft::*;
use support::raw13::{KEY_UPDATE, RawClient13, ack};
use support::scene13::{DTLS13, assert_raw13_data_flows, raw13_handshake};
use support::world::{Note, Small, path, psk};
use support::{IDENTITY, KEY};

const TEN: Config<'static> = DTLS13.with_ccm_8_forgery_limit(10);

/// A record of this epoch that nobody has sealed, each time another one.
fn forged(epoch: u64, n: u8) -> Vec<u8> {
    [&[0x20 | (epoch & 3) as u8, n][..], &[n; 40]].concat()
}

fn established(config: Config<'static>) -> (Small, RawClient13) {
    let mut world = Small::with_config(1, config);
    let mut raw = RawClient13::new(IDENTITY, KEY, 1);
    raw13_handshake(&mut world, &mut raw, 0);
    world.log.clear();
    (world, raw)
}

/// What the server was told by forged records, from number `from` on, and what it answered.
fn forge(world: &mut Small, epoch: u64, numbers: std::ops::Range<u8>) -> (Vec<Note>, Vec<Vec<u8>>) {
    let mut answers = Vec::new();
    for n in numbers {
        answers.extend(world.hit(path(0), &forged(epoch, n)));
    }
    (world.log.drain(..).map(|(_, note)| note).collect(), answers)
}

/// Half of the forgeries that a key stands have the peer asked for another key, and with that all begins anew.
#[test]
fn forgeries_have_keys_replaced() {
    let (mut world, mut raw) = established(TEN);
    for (seq, round) in (raw.message_seq + 1..).zip(0..5) {
        let epoch = 3 + round;
        let (told, answers) = forge(&mut world, epoch, 0..4);
        assert_eq!((told, answers), (vec![], vec![]));
        let (told, answers) = forge(&mut world, epoch, 4..6);
        assert_eq!(told, [Note::NearLimit(KeyUsage::Forgeries)]);
        let opened = raw.side().read.open_all(&answers);
        let [(HANDSHAKE, update, number)] = &opened[..] else { panic!("{opened:?}") };
        assert_eq!((update[0], &update[12..]), (KEY_UPDATE, &[1][..]), "it asks for the peer's");
        let acknowledged = ack(&[(raw.side().read.epoch, *number)]);
        let sealed = raw.side().write.seal(ACK, &acknowledged);
        assert!(world.hit(path(0), &sealed).is_empty());
        raw.side().read.update();
        let own = raw.side().write.seal(HANDSHAKE, &message(KEY_UPDATE, seq, &[0]));
        let answers = world.hit(path(0), &own);
        assert!(matches!(&raw.side().read.open_all(&answers)[..], [(ACK, ..)]));
        raw.side().write.update();
        assert_raw13_data_flows(&mut world, &mut raw, 0);
        world.log.clear();
    }
}

/// A peer that does not change its key: this side is told at the limit, and the session goes on, unless it is configured to end.
#[test]
fn a_peer_that_keeps_its_key() {
    let (mut world, mut raw) = established(TEN);
    let (told, _) = forge(&mut world, 3, 0..100);
    assert_eq!(
        told,
        [KeyUsage::Forgeries]
            .map(Note::NearLimit)
            .into_iter()
            .chain([Note::LimitReached(KeyUsage::Forgeries)])
            .collect::<Vec<_>>()
    );
    assert_eq!(world.server.stats().forged, 100);
    assert_raw13_data_flows(&mut world, &mut raw, 0);

    let (mut world, mut raw) = established(TEN.with_close_at_forgery_limit(true));
    let (told, answers) = forge(&mut world, 3, 0..10);
    assert_eq!(told, [Note::NearLimit(KeyUsage::Forgeries), Note::Failed(Error::ForgeryLimitReached)]);
    let opened = raw.side().read.open_all(&answers[1..]);
    assert!(matches!(&opened[..], [(ALERT, alert, _)] if alert[..] == [1, 0]), "{opened:?}");
    assert_eq!(world.server.sessions().count(), 0);
}

/// What is no guess at the key does not count: replays, other epochs, records that are too short to be looked at.
#[test]
fn what_is_no_forgery() {
    let (mut world, mut raw) = established(TEN);
    let datagram = raw.side().data(b"once");
    world.hit(path(0), &datagram);
    world.log.clear();
    for n in 0..100 {
        world.hit(path(0), &datagram);
        world.hit(path(0), &forged(1, n));
        world.hit(path(0), &forged(0, n));
        world.hit(path(0), &forged(3, n)[..17]);
        world.hit(path(1), &forged(3, n));
    }
    assert_eq!(world.log, []);
    assert_raw13_data_flows(&mut world, &mut raw, 0);
}

/// Seals nothing, and fast.
struct Nothing;

impl CryptoProvider for Nothing {
    fn seal(
        &self,
        _: AeadAlgorithm,
        _: &[u8; 16],
        _: &[u8; 12],
        _: &[u8],
        _: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), AeadError> {
        tag.fill(0);
        Ok(())
    }

    fn open(
        &self,
        _: AeadAlgorithm,
        _: &[u8; 16],
        _: &[u8; 12],
        _: &[u8],
        _: &mut [u8],
        _: &[u8],
    ) -> Result<(), AeadError> {
        Ok(())
    }

    fn encrypt_block(&self, _: &[u8; 16], block: &mut [u8; 16]) -> Result<(), AeadError> {
        block.fill(0);
        Ok(())
    }
}

/// Half of what a key may seal has it replaced, without anyone's doing, in both roles: it never comes to its end.
#[test]
fn keys_that_have_sealed_much_are_replaced() {
    let suite = CipherSuite::Aes128Ccm8Sha256;
    let half = suite.aead().seal_limit() / 2;
    let config = DTLS13.with_suites(&[CipherSuite::Aes128Ccm8Sha256]).with_crypto(&Nothing);
    for server_sends in [false, true] {
        let mut world = Small::with_config(2, config);
        let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
        world.run_for(Duration::from_secs(1));
        let mut buf = [0; 64];
        // The epoch shows in the first byte.
        let mut epochs = Vec::new();
        for n in 0..half + 100 {
            let len = if server_sends {
                world.server.send(&path(0), b"!", &mut buf).unwrap().0
            } else {
                world.clients[client].connection.send(b"!", &mut buf).unwrap()
            };
            if epochs.last() != Some(&(buf[0] & 3)) {
                epochs.push(buf[0] & 3);
            }
            // One in so many gets there, so that the numbers do not run away.
            if n % 1_000 == 0 || n > half - 50 {
                if server_sends {
                    let now = world.now;
                    world.clients[client].hit(&buf[..len], now);
                } else {
                    world.hit(path(0), &buf[..len]);
                }
                world.run_for(Duration::from_millis(30));
            }
        }
        assert_eq!(epochs, [3, 0], "from epoch 3 to epoch 4");
        let is_near = |note: &Note| matches!(note, Note::NearLimit(_) | Note::LimitReached(_));
        assert!(
            !world.clients[client].log.iter().any(is_near)
                && !world.log.iter().any(|(_, note)| is_near(note))
        );
        world.assert_data_flows(client);
    }
}
