//! Datagrams, cut into records.

use dtls_psk::wire::record::{HEADER_LEN, Header, MAX_SEQUENCE_NUMBER, Split, split_first};
use dtls_psk::wire::unified_header::{self, MIN_CIPHERTEXT, UnifiedHeader};
use dtls_psk::wire::{BufferFull, Writer};

/// Connection IDs of every length that a first byte of the input may ask for.
pub fn run(data: &[u8]) {
    let Some((&id_len, data)) = data.split_first() else { return };
    let id_len = usize::from(id_len % 9);
    let mut datagram = data.to_vec();
    let mut rest = datagram.as_mut_slice();
    let mut at = 0;
    while let Some((split, behind)) = split_first(rest, id_len) {
        let end = data.len() - behind.len();
        let least = if unified_header::is_first_byte(data[at]) { 2 } else { HEADER_LEN };
        assert!(end >= at + least, "each step goes on by a header at least");
        if let Split::Record(header, body) = split {
            let body_at = at + header.len();
            assert!([0, id_len].contains(&header.connection_id().len()));
            assert_eq!(body, &data[body_at..end]);
            assert_eq!(emit(&header, body.len()), &data[at..body_at]);
            if let Header::Unified(header) = header {
                check_unified(&header, body.len(), &data[at..body_at], behind.len());
            }
        }
        (rest, at) = (behind, end);
    }
}

/// What was read, written again.
fn emit(header: &Header<'_>, len: usize) -> Vec<u8> {
    let mut again = [0; HEADER_LEN + 8];
    let mut w = Writer::new(&mut again);
    let written: Result<(), BufferFull> = match header {
        Header::Full(full) => {
            assert!(full.sequence_number <= MAX_SEQUENCE_NUMBER);
            assert_eq!(header.plaintext().is_some(), full.epoch == 0);
            full.emit(len, &mut w)
        }
        Header::Unified(unified) => {
            assert!(header.plaintext().is_none());
            unified.emit(&mut w)
        }
    };
    written.expect("the header has its room");
    w.written().to_vec()
}

fn check_unified(header: &UnifiedHeader<'_>, len: usize, bytes: &[u8], behind: usize) {
    assert!(len >= MIN_CIPHERTEXT, "there is what decrypts its number");
    match header.length {
        Some(length) => assert_eq!(usize::from(length), len),
        None => assert_eq!(behind, 0, "it takes all there is"),
    }
    // Where the record layer decrypts the number.
    let at = header.sequence_number_at();
    let number = &bytes[at..at + header.sequence_number_len()];
    let number = number.iter().fold(0, |number, byte| number << 8 | u16::from(*byte));
    assert_eq!(number, header.sequence_number);
}
