//! Reads what the crate sends, without the crate's own parser. Anything malformed is a failed test.

/// A record as it travelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub content_type: u8,
    pub version: [u8; 2],
    pub epoch: u16,
    pub sequence_number: u64,
    pub connection_id: Vec<u8>,
    pub body: Vec<u8>,
}

/// A handshake message or a fragment of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub msg_type: u8,
    pub length: usize,
    pub message_seq: u16,
    pub offset: usize,
    pub body: Vec<u8>,
}

/// The records of a datagram that goes to someone who asked for no connection ID.
pub fn records(datagram: &[u8]) -> Vec<Record> {
    records_with_id(datagram, 0)
}

/// The records of a datagram that goes to someone whose connection ID has so many bytes.
pub fn records_with_id(mut datagram: &[u8], id_len: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while !datagram.is_empty() {
        let number = |range: std::ops::Range<usize>| {
            datagram[range].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let id_len = if datagram[0] == super::craft::TLS12_CID { id_len } else { 0 };
        let len = number(11 + id_len..13 + id_len) as usize;
        let body = 13 + id_len..13 + id_len + len;
        records.push(Record {
            content_type: datagram[0],
            version: [datagram[1], datagram[2]],
            epoch: number(3..5) as u16,
            sequence_number: number(5..11),
            connection_id: datagram[11..11 + id_len].to_vec(),
            body: datagram[body.clone()].to_vec(),
        });
        datagram = &datagram[body.end..];
    }
    records
}

pub fn messages(mut body: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let number = |range: std::ops::Range<usize>| {
            body[range].iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
        };
        let (length, offset, len) = (number(1..4), number(6..9), number(9..12));
        assert!(offset + len <= length, "a fragment that reaches past its message");
        messages.push(Message {
            msg_type: body[0],
            length,
            message_seq: number(4..6) as u16,
            offset,
            body: body[12..12 + len].to_vec(),
        });
        body = &body[12 + len..];
    }
    messages
}

/// What comes before the first protected record.
fn plain_part(datagram: &[u8]) -> &[u8] {
    let mut end = 0;
    // Those of DTLS 1.3 have a header of another form (RFC 9147 §4).
    while let Some(&[0..0x20, _, _, 0, 0, .., high, low]) = datagram[end..].first_chunk::<13>() {
        end += 13 + usize::from(u16::from_be_bytes([high, low]));
    }
    &datagram[..end]
}

/// The plaintext handshake messages of one datagram.
pub fn plain_messages(datagram: &[u8]) -> Vec<Message> {
    records(plain_part(datagram))
        .iter()
        .filter(|record| record.content_type == super::craft::HANDSHAKE)
        .flat_map(|record| messages(&record.body))
        .collect()
}

/// The types of the plaintext handshake messages in `datagrams`.
pub fn message_types(datagrams: &[Vec<u8>]) -> Vec<u8> {
    datagrams.iter().flat_map(|datagram| plain_messages(datagram)).map(|message| message.msg_type).collect()
}

/// Level and description of a datagram that is one plaintext alert.
pub fn plain_alert(datagram: &[u8]) -> Option<(u8, u8)> {
    match records(datagram).as_slice() {
        [Record { content_type: super::craft::ALERT, epoch: 0, body, .. }] => match body.as_slice() {
            [level, description] => Some((*level, *description)),
            _ => None,
        },
        _ => None,
    }
}

/// The cookie of a datagram that is a HelloVerifyRequest.
pub fn cookie(datagram: &[u8]) -> Option<Vec<u8>> {
    let messages = plain_messages(datagram);
    let [message] = messages.as_slice() else { return None };
    (message.msg_type == super::craft::HELLO_VERIFY_REQUEST).then(|| {
        assert_eq!(message.body[..2], super::craft::DTLS10, "the version that RFC 6347 §4.2.1 asks for");
        assert_eq!(usize::from(message.body[2]), message.body.len() - 3);
        message.body[3..].to_vec()
    })
}
