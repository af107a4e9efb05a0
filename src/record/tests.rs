//! Read and write states against each other, where the vectors of whole connections do not reach.

use super::{Dropped, PlainWriter, ReadState, WriteState};
use crate::connection_id::{OwnConnectionId, PeerConnectionId};
use crate::crypto::aead::{AeadKey, MAX_ADDITIONAL_DATA, additional_data};
use crate::crypto::limits::ALERT_RESERVE;
use crate::crypto::provider::RustCrypto;
use crate::wire::record::{ContentType, HEADER_LEN, MAX_SEQUENCE_NUMBER, Split, split_first};
use crate::{CipherSuite, Error};

const KEY: [u8; 16] = [1; 16];

fn set_key(key: &mut AeadKey) {
    key.key = KEY;
    key.iv.iter_mut().take(4).for_each(|byte| *byte = 2);
}

fn write_state(connection_id: &[u8], limit: u16) -> WriteState {
    let id = PeerConnectionId::new(connection_id).unwrap();
    let mut write = WriteState::new(CipherSuite::Aes128Ccm8, 1, id, limit);
    set_key(write.key_mut());
    write
}

/// The last number is used once, and the last but a few are for alerts; then sending ends (RFC 9147 §4.5.3).
#[test]
fn a_key_seals_no_more_than_it_may() {
    let mut write = write_state(&[], 1 << 14);
    let limit = CipherSuite::Aes128Ccm8.aead().seal_limit();
    write.next = limit - ALERT_RESERVE - 1;
    let mut buf = [0; 64];
    let len = write.seal(&RustCrypto, ContentType::ApplicationData, [b"last", &[]], &mut buf).unwrap();
    assert_eq!(len, 33);
    let refused = |write: &mut WriteState, content_type| {
        let mut buf = [7; 64];
        let outcome = write.seal_in_place(&RustCrypto, content_type, &mut buf, 21..25);
        assert_eq!(outcome, Err(Error::SealLimitReached));
        assert_eq!(buf, [7; 64]);
    };
    refused(&mut write, ContentType::ApplicationData);
    for _ in 0..ALERT_RESERVE {
        write.seal(&RustCrypto, ContentType::Alert, [&[1, 0], &[]], &mut buf).unwrap();
    }
    assert_eq!(buf[5..11], (limit - 1).to_be_bytes()[2..]);
    assert_eq!(buf[HEADER_LEN..HEADER_LEN + 8], (1 << 48 | (limit - 1)).to_be_bytes());
    for content_type in [ContentType::ApplicationData, ContentType::Alert, ContentType::Handshake] {
        refused(&mut write, content_type);
    }
}

/// A connection ID of every length, with and without padding, and its type inside.
#[test]
fn connection_ids_and_padding() {
    if !cfg!(feature = "connection-id") {
        return;
    }
    for id in [&b"1"[..], b"12", b"12345678"] {
        let mut write = write_state(id, 1 << 14);
        let mut read = ReadState::new(CipherSuite::Aes128Ccm8, 1, OwnConnectionId::new(id).unwrap(), 1 << 14);
        set_key(read.key_mut());
        let mut buf = [0; 128];
        // Padding is nothing but more zeros behind the type, which this side never sends but always takes.
        for padding in [0, 1, 40] {
            let padded = [&b"data\x17"[..], &[0; 40][..padding]].concat();
            // Sealed as if the last byte of the padding were the type.
            let (content, last) = padded.split_at(padded.len() - 1);
            let mut sealer = write.clone();
            let prefix = sealer.prefix();
            buf[prefix..prefix + content.len()].copy_from_slice(content);
            let len = if padding == 0 {
                assert_eq!(last, [23]);
                sealer.seal(&RustCrypto, ContentType::ApplicationData, [content, &[]], &mut buf).unwrap()
            } else {
                seal_padded(&mut sealer, content, &mut buf)
            };
            write = sealer;
            assert_eq!(buf[0], 25);
            let (Split::Record(header, body), []) = split_first(&mut buf[..len], id.len()).unwrap() else {
                panic!("one record")
            };
            let opened = read.open(&RustCrypto, &header, body).ok().unwrap();
            assert_eq!((opened.content_type, &*opened.body), (ContentType::ApplicationData, &b"data"[..]));
            assert!(opened.is_newest);
        }
        // Nothing but padding, and a record inside of a record.
        for content in [&[0; 8][..], &[1, 2, 25]] {
            let len = seal_padded(&mut write, content, &mut buf);
            let (Split::Record(header, body), []) = split_first(&mut buf[..len], id.len()).unwrap() else {
                panic!("one record")
            };
            assert!(matches!(read.open(&RustCrypto, &header, body), Err(Dropped::Unexpected)));
        }
    }
}

/// Seals `content` and a zero byte as the inner plaintext.
fn seal_padded(write: &mut WriteState, content: &[u8], buf: &mut [u8]) -> usize {
    use crate::wire::record::RecordHeader;
    let id = write.connection_id;
    let header = RecordHeader {
        content_type: ContentType::Tls12Cid,
        version: crate::wire::version::DTLS12,
        epoch: 1,
        sequence_number: write.next,
        connection_id: id.as_bytes(),
    };
    write.next += 1;
    let nonce = header.epoch_and_sequence();
    let mut data = [content, &[0]].concat();
    let mut tag = [0; 8];
    let mut aad = [0; MAX_ADDITIONAL_DATA];
    let aad = additional_data(&header, data.len(), &mut aad).unwrap();
    write.key.seal(&RustCrypto, write.suite.aead(), nonce, aad, &mut data, &mut tag).unwrap();
    let mut w = crate::wire::Writer::new(buf);
    header.emit(8 + data.len() + 8, &mut w).unwrap();
    [&nonce.to_be_bytes()[..], &data, &tag].iter().for_each(|part| w.bytes(part).unwrap());
    w.len()
}

/// The peer's limit counts what is encrypted, the content type inside too (RFC 8449 §4).
#[test]
fn record_size_limits() {
    let mut write = write_state(&[], 64);
    let mut buf = [0; 256];
    let mut seal = |write: &mut WriteState, len| {
        write.seal(&RustCrypto, ContentType::ApplicationData, [&[5; 80][..len], &[]], &mut buf)
    };
    assert_eq!(seal(&mut write, 64), Ok(64 + 29));
    assert_eq!(seal(&mut write, 65), Err(Error::PayloadTooLong { max: 64 }));
    if cfg!(feature = "connection-id") {
        let mut write = write_state(b"x", 64);
        assert_eq!(seal(&mut write, 63), Ok(63 + 31));
        assert_eq!(seal(&mut write, 64), Err(Error::PayloadTooLong { max: 63 }));
    }
}

/// Plaintext records take their first number from the peer, so theirs may come to the end, and wrap.
#[test]
fn plaintext_numbers_wrap() {
    let mut plain = PlainWriter::starting_at(MAX_SEQUENCE_NUMBER);
    let mut buf = [0; 15];
    assert_eq!(plain.write(ContentType::Alert, [&[2, 40], &[]], &mut buf), Some(15));
    assert_eq!(buf[5..11], [0xFF; 6]);
    assert_eq!(plain.write(ContentType::Alert, [&[2], &[40]], &mut buf), Some(15));
    assert_eq!(buf[5..11], [0; 6]);
    assert_eq!(plain.write(ContentType::Alert, [&[2, 40], &[]], &mut buf[..14]), None);
}

#[cfg(feature = "dtls13")]
mod dtls13 {
    use super::super::{Dropped, ReadState, ReplayWindow, WriteState};
    use crate::CipherSuite;
    use crate::connection_id::{OwnConnectionId, PeerConnectionId};
    use crate::crypto::limits::ALERT_RESERVE;
    use crate::crypto::provider::RustCrypto;
    use crate::error::Error;
    use crate::wire::record::{ContentType, Header, RecordNumber, Split, split_first};
    use crate::wire::version::ProtocolVersion;

    fn suites() -> impl Iterator<Item = CipherSuite> {
        CipherSuite::ALL.iter().copied().filter(|suite| suite.version() == ProtocolVersion::Dtls13)
    }

    fn ids() -> &'static [&'static [u8]] {
        if cfg!(feature = "connection-id") { &[b"", b"1", b"12345678"] } else { &[b""] }
    }

    fn pair(suite: CipherSuite, id: &[u8]) -> (WriteState, ReadState) {
        let mut write = WriteState::new(suite, 3, PeerConnectionId::new(id).unwrap(), 1 << 14);
        let mut read = ReadState::new(suite, 3, OwnConnectionId::new(id).unwrap(), 1 << 14);
        for secret in [write.secret_mut(), read.secret_mut()] {
            secret.copy_from_slice(&[7; 32]);
        }
        write.derive_key();
        read.derive_key();
        (write, read)
    }

    fn seal(write: &mut WriteState, payload: &[u8]) -> std::vec::Vec<u8> {
        let mut buf = [0xEE; 256];
        let expected = write.sealed_len(payload.len());
        let len = write.seal(&RustCrypto, ContentType::ApplicationData, [payload, &[]], &mut buf).unwrap();
        assert_eq!(len, expected);
        buf[..len].to_vec()
    }

    fn open(read: &mut ReadState, record: &[u8]) -> Result<(std::vec::Vec<u8>, RecordNumber), Dropped> {
        let mut datagram = record.to_vec();
        let id_len = read.connection_id().len();
        let Some((Split::Record(header, body), [])) = split_first(&mut datagram, id_len) else {
            return Err(Dropped::Unexpected);
        };
        let opened = read.open(&RustCrypto, &header, body)?;
        assert_eq!(opened.content_type, ContentType::ApplicationData);
        Ok((opened.body.to_vec(), opened.number))
    }

    /// Every length: padded up to 16 bytes of ciphertext, and no further (RFC 9147 §4.2.3).
    #[test]
    fn data_of_every_length() {
        for suite in suites() {
            for id in ids() {
                let (mut write, mut read) = pair(suite, id);
                for len in 0..=40 {
                    write.on_heard();
                    let payload = &[0x5A; 40][..len];
                    let number = write.sealed();
                    let record = seal(&mut write, payload);
                    let number_len = if number % 64 == 63 { 2 } else { 1 };
                    let ciphertext = (len + 1 + suite.tag_len()).max(16);
                    assert_eq!(record.len(), 1 + id.len() + number_len + ciphertext);
                    let (opened, at) = open(&mut read, &record).unwrap();
                    assert_eq!((&*opened, at), (payload, RecordNumber { epoch: 3, sequence_number: number }));
                    assert_eq!(open(&mut read, &record), Err(Dropped::Replayed));
                }
            }
        }
    }

    /// Whatever byte of a record is changed, nothing moves but the count of what was forged.
    #[test]
    fn forged_records() {
        for suite in suites() {
            let (mut write, mut read) = pair(suite, b"");
            seal(&mut write, b"one that is lost");
            let record = seal(&mut write, b"data");
            for at in 0..record.len() {
                for bit in 0..8 {
                    let mut forged = record.clone();
                    forged[at] ^= 1 << bit;
                    let outcome = open(&mut read, &forged);
                    assert!(outcome.is_err(), "{suite} {at} {bit}: {outcome:?}");
                }
            }
            assert!(read.forged() > 0 && read.window().is_empty());
            assert_eq!(open(&mut read, &record).unwrap().0, b"data");
        }
    }

    /// A record without a connection ID where one is expected, and the reverse (RFC 9147 §9).
    #[test]
    #[cfg(feature = "connection-id")]
    fn connection_ids_have_to_fit() {
        let suite = CipherSuite::Aes128Ccm8Sha256;
        let ((mut plain, mut reads_plain), (mut with_id, mut reads_id)) =
            (pair(suite, b""), pair(suite, b"1"));
        assert_eq!(open(&mut reads_id, &seal(&mut plain, b"data")), Err(Dropped::Unexpected));
        assert_eq!(open(&mut reads_plain, &seal(&mut with_id, b"data")), Err(Dropped::Unexpected));
        let (mut other, _) = pair(suite, b"2");
        assert_eq!(open(&mut reads_id, &seal(&mut other, b"data")), Err(Dropped::Unexpected));
        assert_eq!(read_counts(&reads_id, &reads_plain), [0, 0]);
    }

    #[cfg(feature = "connection-id")]
    fn read_counts(one: &ReadState, other: &ReadState) -> [u64; 2] {
        [one.forged(), other.forged()]
    }

    /// A peer that hears nothing for a long time, and one that is not heard, both find out which number is meant.
    #[test]
    fn numbers_after_an_outage() {
        let suite = CipherSuite::Aes128Ccm8Sha256;
        for lost in [0, 1, 63, 64, 100, 127, 128, 129, 200, 255, 256, 300, 1_000, 30_000] {
            // Not heard: with 16 bits, the first record that arrives is read.
            let (mut write, mut read) = pair(suite, b"");
            open(&mut read, &seal(&mut write, b"first")).unwrap();
            for _ in 0..lost {
                seal(&mut write, b"lost");
            }
            assert!(open(&mut read, &seal(&mut write, b"after")).is_ok(), "{lost}");
            // Heard all the time: within 64 records, there is one that shows 16.
            let (mut write, mut read) = pair(suite, b"");
            open(&mut read, &seal(&mut write, b"first")).unwrap();
            for _ in 0..lost {
                write.on_heard();
                seal(&mut write, b"lost");
            }
            let read_at = (1..=64).find(|_| {
                write.on_heard();
                open(&mut read, &seal(&mut write, b"after")).is_ok()
            });
            assert!(read_at.is_some(), "{lost}");
        }
    }

    /// `ReplayWindow::reconstruct` against the definition: of all numbers with these bits, the one closest to the expected one (RFC 9147
    /// §4.2.2).
    #[test]
    fn reconstruction() {
        for highest in
            [0_u64, 1, 100, 127, 128, 254, 255, 256, 257, 32_767, 32_768, 65_534, 65_535, 65_536, 1 << 40]
        {
            let mut window = ReplayWindow::default();
            window.mark(highest);
            let expected = highest + 1;
            for bits in [8, 16] {
                let span = 1_u64 << bits;
                for low in (0..span).step_by(if bits == 8 { 1 } else { 97 }) {
                    let candidates = (expected / span).saturating_sub(1)..=expected / span + 1;
                    let closest =
                        candidates.map(|high| high * span + low).min_by_key(|it| it.abs_diff(expected));
                    let found = window.reconstruct(low as u16, bits);
                    let distance = closest.unwrap().abs_diff(expected);
                    assert_eq!(found % span, low);
                    assert_eq!(found.abs_diff(expected), distance, "{highest} {low} {bits}");
                }
            }
        }
        assert_eq!(ReplayWindow::default().reconstruct(200, 8), 200, "before anything has come");
    }

    /// Late records are read until the first one under the next key; then no more. Forged ones change nothing.
    #[test]
    fn key_updates() {
        for suite in suites() {
            let (mut write, mut read) = pair(suite, b"");
            for epoch in 3..20 {
                let late = [seal(&mut write, b"late"), seal(&mut write, b"later")];
                write.update();
                let first = seal(&mut write, b"first under the next key");
                assert_eq!(open(&mut read, &first), Err(Dropped::Unexpected), "nobody has said so");
                assert!(read.expect_update());
                assert!(!read.expect_update(), "it has been said");
                let mut forged = first.clone();
                *forged.last_mut().unwrap() ^= 1;
                assert_eq!(open(&mut read, &forged), Err(Dropped::Forged));
                assert_eq!(open(&mut read, &late[0]).unwrap().1.epoch, epoch);
                let number = RecordNumber { epoch: epoch + 1, sequence_number: 0 };
                assert_eq!(open(&mut read, &first).unwrap().1, number);
                assert_eq!(open(&mut read, &first), Err(Dropped::Replayed));
                assert_eq!(open(&mut read, &late[1]), Err(Dropped::Unexpected));
            }
        }
    }

    /// The limits of a key hold in this version as well, and begin anew with the next one.
    #[test]
    fn limits() {
        let suite = CipherSuite::Aes128Ccm8Sha256;
        let (mut write, _) = pair(suite, b"");
        write.go_on_at(suite.aead().seal_limit() - ALERT_RESERVE - 1);
        seal(&mut write, b"last");
        let mut buf = [0; 64];
        let refused = write.seal(&RustCrypto, ContentType::ApplicationData, [b"data", &[]], &mut buf);
        assert_eq!(refused, Err(Error::SealLimitReached));
        write.seal(&RustCrypto, ContentType::Alert, [&[1, 0], &[]], &mut buf).unwrap();
        write.update();
        seal(&mut write, b"first");
        assert_eq!(write.max_payload(), (1 << 14) - 1);
        let mut buf = std::vec![0; 1 << 15];
        let too_long = write.seal(&RustCrypto, ContentType::ApplicationData, [&[0; 1 << 14], &[]], &mut buf);
        assert_eq!(too_long, Err(Error::PayloadTooLong { max: (1 << 14) - 1 }));
    }

    /// Records of DTLS 1.2 are none of this state's.
    #[test]
    fn other_forms() {
        let (_, mut read) = pair(CipherSuite::Aes128Ccm8Sha256, b"");
        let mut record = [&[23, 0xFE, 0xFD, 0, 3, 0, 0, 0, 0, 0, 0, 0, 24][..], &[0; 24]].concat();
        let Some((Split::Record(header @ Header::Full(_), body), [])) = split_first(&mut record, 0) else {
            panic!("a record")
        };
        assert!(matches!(read.open(&RustCrypto, &header, body), Err(Dropped::Unexpected)));
        assert_eq!(read.forged(), 0);
    }
}
