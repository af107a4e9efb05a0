//! Datagrams, cut into records.

use dtls_psk::wire::Writer;
use dtls_psk::wire::record::{HEADER_LEN, MAX_SEQUENCE_NUMBER, Split, split_first};

pub fn run(data: &[u8]) {
    let mut datagram = data.to_vec();
    let mut rest = datagram.as_mut_slice();
    let mut at = 0;
    while let Some((split, behind)) = split_first(rest) {
        let end = data.len() - behind.len();
        assert!(end >= at + HEADER_LEN, "each step goes on by a header at least");
        if let Split::Record(header, body) = split {
            assert_eq!(body, &data[at + HEADER_LEN..end]);
            assert!(header.sequence_number <= MAX_SEQUENCE_NUMBER);
            let mut again = [0; HEADER_LEN];
            let mut w = Writer::new(&mut again);
            header.emit(body.len(), &mut w).expect("the header has its room");
            assert_eq!(w.written(), &data[at..at + HEADER_LEN]);
        }
        (rest, at) = (behind, end);
    }
}
