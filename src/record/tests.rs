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
