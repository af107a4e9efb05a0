//! Datagrams, cut into records.

use dtls_psk::wire::Writer;
use dtls_psk::wire::record::{HEADER_LEN, MAX_SEQUENCE_NUMBER, Split, split_first};

/// Connection IDs of every length that a first byte of the input may ask for.
pub fn run(data: &[u8]) {
    let Some((&id_len, data)) = data.split_first() else { return };
    let id_len = usize::from(id_len % 9);
    let mut datagram = data.to_vec();
    let mut rest = datagram.as_mut_slice();
    let mut at = 0;
    while let Some((split, behind)) = split_first(rest, id_len) {
        let end = data.len() - behind.len();
        assert!(end >= at + HEADER_LEN, "each step goes on by a header at least");
        if let Split::Record(header, body) = split {
            let body_at = at + HEADER_LEN + header.connection_id.len();
            assert!([0, id_len].contains(&header.connection_id.len()));
            assert_eq!(body, &data[body_at..end]);
            assert!(header.sequence_number <= MAX_SEQUENCE_NUMBER);
            let mut again = [0; HEADER_LEN + 8];
            let mut w = Writer::new(&mut again);
            header.emit(body.len(), &mut w).expect("the header has its room");
            assert_eq!(w.written(), &data[at..body_at]);
        }
        (rest, at) = (behind, end);
    }
}
