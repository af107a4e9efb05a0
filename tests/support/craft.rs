//! Messages written as bytes, right or wrong, without the crate's own encoder.

pub const CHANGE_CIPHER_SPEC: u8 = 20;
pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const APPLICATION_DATA: u8 = 23;
pub const TLS12_CID: u8 = 25;
pub const ACK: u8 = 26;
pub const RETURN_ROUTABILITY_CHECK: u8 = 27;

pub const HELLO_REQUEST: u8 = 0;
pub const CLIENT_HELLO: u8 = 1;
pub const SERVER_HELLO: u8 = 2;
pub const HELLO_VERIFY_REQUEST: u8 = 3;
pub const NEW_SESSION_TICKET: u8 = 4;
pub const SERVER_KEY_EXCHANGE: u8 = 12;
pub const SERVER_HELLO_DONE: u8 = 14;
pub const CLIENT_KEY_EXCHANGE: u8 = 16;
pub const FINISHED: u8 = 20;

// Descriptions of alerts.
pub const CLOSE_NOTIFY: u8 = 0;
pub const UNEXPECTED_MESSAGE: u8 = 10;
pub const HANDSHAKE_FAILURE: u8 = 40;
pub const ILLEGAL_PARAMETER: u8 = 47;
pub const DECODE_ERROR: u8 = 50;
pub const DECRYPT_ERROR: u8 = 51;
pub const PROTOCOL_VERSION: u8 = 70;
pub const USER_CANCELED: u8 = 90;
pub const NO_RENEGOTIATION: u8 = 100;
pub const MISSING_EXTENSION: u8 = 109;
pub const UNSUPPORTED_EXTENSION: u8 = 110;

pub const DTLS10: [u8; 2] = [0xFE, 0xFF];
pub const DTLS12: [u8; 2] = [0xFE, 0xFD];

pub const CCM_8: u16 = 0xC0A8;
pub const CCM: u16 = 0xC0A4;
pub const GCM: u16 = 0x00A8;
pub const ECDHE_CCM_8: u16 = 0xD003;
pub const ECDHE_CCM: u16 = 0xD005;
pub const ECDHE_GCM: u16 = 0xD001;
pub const SCSV: u16 = 0x00FF;

pub const EXT_SERVER_NAME: u16 = 0;
pub const EXT_MAX_FRAGMENT_LENGTH: u16 = 1;
pub const EXT_SUPPORTED_GROUPS: u16 = 10;
pub const EXT_EC_POINT_FORMATS: u16 = 11;
pub const EXT_EMS: u16 = 23;
pub const EXT_RECORD_SIZE_LIMIT: u16 = 28;
pub const EXT_SESSION_TICKET: u16 = 35;
pub const EXT_CONNECTION_ID: u16 = 54;
pub const EXT_RRC: u16 = 61;
pub const EXT_RENEGOTIATION_INFO: u16 = 0xFF01;

/// A DTLS 1.2 record.
pub fn record(content_type: u8, epoch: u16, sequence_number: u64, body: &[u8]) -> Vec<u8> {
    record_of(DTLS12, content_type, epoch, sequence_number, body)
}

pub fn record_of(
    version: [u8; 2],
    content_type: u8,
    epoch: u16,
    sequence_number: u64,
    body: &[u8],
) -> Vec<u8> {
    let mut out = vec![content_type];
    out.extend(version);
    out.extend(epoch.to_be_bytes());
    out.extend(&sequence_number.to_be_bytes()[2..]);
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}

/// A handshake message in one piece.
pub fn message(msg_type: u8, message_seq: u16, body: &[u8]) -> Vec<u8> {
    fragment(msg_type, body.len() as u32, message_seq, 0, body)
}

/// A fragment, consistent or not.
pub fn fragment(msg_type: u8, length: u32, message_seq: u16, offset: u32, body: &[u8]) -> Vec<u8> {
    header(msg_type, length, message_seq, offset, body.len() as u32)
        .into_iter()
        .chain(body.iter().copied())
        .collect()
}

pub fn header(msg_type: u8, length: u32, message_seq: u16, offset: u32, fragment_length: u32) -> Vec<u8> {
    let mut out = vec![msg_type];
    out.extend(&length.to_be_bytes()[1..]);
    out.extend(message_seq.to_be_bytes());
    out.extend(&offset.to_be_bytes()[1..]);
    out.extend(&fragment_length.to_be_bytes()[1..]);
    out
}

pub fn vec8(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

pub fn vec16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// A ClientHello's body.
#[derive(Clone, Debug)]
pub struct ClientHello {
    pub version: [u8; 2],
    pub random: [u8; 32],
    pub session_id: Vec<u8>,
    pub cookie: Vec<u8>,
    pub suites: Vec<u16>,
    pub compression: Vec<u8>,
    /// `None` leaves the whole block out.
    pub extensions: Option<Vec<(u16, Vec<u8>)>>,
}

impl ClientHello {
    pub fn new(random: [u8; 32]) -> Self {
        Self {
            version: DTLS12,
            random,
            session_id: Vec::new(),
            cookie: Vec::new(),
            suites: vec![CCM_8, SCSV],
            compression: vec![0],
            extensions: Some(vec![(EXT_EMS, Vec::new())]),
        }
    }

    pub fn body(&self) -> Vec<u8> {
        let suites: Vec<u8> = self.suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
        [
            self.version.to_vec(),
            self.random.to_vec(),
            vec8(&self.session_id),
            vec8(&self.cookie),
            vec16(&suites),
            vec8(&self.compression),
            extensions(self.extensions.as_deref()),
        ]
        .concat()
    }

    /// The datagram with this hello.
    pub fn datagram(&self, message_seq: u16, sequence_number: u64) -> Vec<u8> {
        record(HANDSHAKE, 0, sequence_number, &message(CLIENT_HELLO, message_seq, &self.body()))
    }
}

/// A ServerHello's body.
#[derive(Clone, Debug)]
pub struct ServerHello {
    pub version: [u8; 2],
    pub random: [u8; 32],
    pub session_id: Vec<u8>,
    pub suite: u16,
    pub compression: u8,
    pub extensions: Option<Vec<(u16, Vec<u8>)>>,
}

impl ServerHello {
    pub fn new(random: [u8; 32]) -> Self {
        Self {
            version: DTLS12,
            random,
            session_id: Vec::new(),
            suite: CCM_8,
            compression: 0,
            extensions: Some(vec![(EXT_RENEGOTIATION_INFO, vec![0]), (EXT_EMS, Vec::new())]),
        }
    }

    pub fn body(&self) -> Vec<u8> {
        [
            self.version.to_vec(),
            self.random.to_vec(),
            vec8(&self.session_id),
            self.suite.to_be_bytes().to_vec(),
            vec![self.compression],
            extensions(self.extensions.as_deref()),
        ]
        .concat()
    }
}

fn extensions(list: Option<&[(u16, Vec<u8>)]>) -> Vec<u8> {
    let Some(list) = list else { return Vec::new() };
    let block: Vec<u8> = list
        .iter()
        .flat_map(|(number, data)| [number.to_be_bytes().to_vec(), vec16(data)].concat())
        .collect();
    vec16(&block)
}

/// A HelloVerifyRequest's body.
pub fn hello_verify_request(version: [u8; 2], cookie: &[u8]) -> Vec<u8> {
    [version.to_vec(), vec8(cookie)].concat()
}

/// What an extension holds, among those that end a hello.
pub fn extension(block: &[u8], number: u16) -> Option<Vec<u8>> {
    let mut rest = block.get(2..).unwrap_or_default();
    while let [a, b, c, d, behind @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*c, *d]));
        if u16::from_be_bytes([*a, *b]) == number {
            return Some(behind[..len].to_vec());
        }
        rest = &behind[len..];
    }
    None
}
