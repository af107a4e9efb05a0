//! Hello extensions (RFC 5246 §7.4.1.4): those that this crate reads and writes.

use super::max_fragment_length::MaxFragmentLength;
use super::{BufferFull, InvalidMessage, Reader, Writer};

/// `server_name` (RFC 6066 §3).
const SERVER_NAME: u16 = 0;
/// `max_fragment_length` (RFC 6066 §4).
const MAX_FRAGMENT_LENGTH: u16 = 1;
/// `supported_groups` (RFC 8422 §5.1.1).
const SUPPORTED_GROUPS: u16 = 10;
/// `ec_point_formats` (RFC 8422 §5.1.2).
const EC_POINT_FORMATS: u16 = 11;
/// `extended_master_secret` (RFC 7627 §5.1).
const EXTENDED_MASTER_SECRET: u16 = 23;
/// `record_size_limit` (RFC 8449 §4).
const RECORD_SIZE_LIMIT: u16 = 28;
/// `SessionTicket` (RFC 5077 §3.2).
const SESSION_TICKET: u16 = 35;
/// `connection_id` (RFC 9146 §3).
const CONNECTION_ID: u16 = 54;
/// `rrc` (RFC 9853 §3).
const RETURN_ROUTABILITY_CHECK: u16 = 61;
/// `renegotiation_info` (RFC 5746 §3.2).
const RENEGOTIATION_INFO: u16 = 0xFF01;

/// `host_name`, the one `NameType` there is (RFC 6066 §3).
const HOST_NAME: u8 = 0;

/// `x25519` among the `NamedGroup`s, the one that this crate knows (RFC 8422 §5.1.1).
pub const X25519: u16 = 29;

/// `uncompressed`, the one `ECPointFormat` that is left (RFC 8422 §5.1.2).
const UNCOMPRESSED: u8 = 0;

/// The extensions of a hello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions<'a> {
    /// The name of the server that the client wants to speak with; empty where a server says that it has made use of it.
    pub server_name: Option<&'a [u8]>,
    /// The longest fragment that the client wants to get and to send.
    pub max_fragment_length: Option<MaxFragmentLength>,
    /// The groups that the client knows, the best first, two bytes each.
    pub supported_groups: Option<&'a [u8]>,
    /// The forms of points that the sender of the hello reads: all read the one there is.
    pub ec_point_formats: bool,
    /// The master secret is bound to the handshake (RFC 7627).
    pub extended_master_secret: bool,
    /// The longest plaintext in bytes that the sender of the hello wants to get in one protected record; 64 at least.
    pub record_size_limit: Option<u16>,
    /// The ticket that the client would resume with; empty where it would like one, and where a server will send one.
    pub session_ticket: Option<&'a [u8]>,
    /// The connection ID that the sender of the hello wants to get records with; empty for none.
    pub connection_id: Option<&'a [u8]>,
    /// The sender of the hello answers return routability checks.
    pub return_routability_check: bool,
    /// `renegotiation_info` is there, and empty as it must be in a first handshake (RFC 5746 §3.4–3.6).
    pub renegotiation_info: bool,
    /// `renegotiation_info` is there and speaks of a connection that there is not: the handshake fails (RFC 5746 §3.4, §3.6).
    pub renegotiated_connection: bool,
    /// Something else is there: a server passes over it, a client did not offer it.
    pub unknown: bool,
}

impl<'a> Extensions<'a> {
    /// Reads the extensions block that ends a hello; a hello may also end before it.
    pub fn parse(r: &mut Reader<'a>) -> Result<Self, InvalidMessage> {
        let mut extensions = Self::default();
        if r.is_empty() {
            return Ok(extensions);
        }
        let mut list = Reader::new(r.vec16()?);
        while !list.is_empty() {
            let extension_type = list.u16()?;
            let data = list.vec16()?;
            let is_repeated = match extension_type {
                SERVER_NAME => extensions.server_name.replace(host_name(data)?).is_some(),
                MAX_FRAGMENT_LENGTH => {
                    let length = MaxFragmentLength::parse(data)?;
                    extensions.max_fragment_length.replace(length).is_some()
                }
                SUPPORTED_GROUPS if cfg!(feature = "x25519") => {
                    extensions.supported_groups.replace(groups(data)?).is_some()
                }
                EC_POINT_FORMATS if cfg!(feature = "x25519") => {
                    if !whole(data, Reader::vec8)?.contains(&UNCOMPRESSED) {
                        return Err(InvalidMessage::IllegalValue);
                    }
                    core::mem::replace(&mut extensions.ec_point_formats, true)
                }
                EXTENDED_MASTER_SECRET => set(&mut extensions.extended_master_secret, data)?,
                RECORD_SIZE_LIMIT => extensions.record_size_limit.replace(size_limit(data)?).is_some(),
                SESSION_TICKET => extensions.session_ticket.replace(data).is_some(),
                CONNECTION_ID => extensions.connection_id.replace(whole(data, Reader::vec8)?).is_some(),
                RETURN_ROUTABILITY_CHECK => set(&mut extensions.return_routability_check, data)?,
                RENEGOTIATION_INFO if data == [0] => {
                    core::mem::replace(&mut extensions.renegotiation_info, true)
                }
                RENEGOTIATION_INFO => core::mem::replace(&mut extensions.renegotiated_connection, true),
                _ => {
                    extensions.unknown = true;
                    false
                }
            };
            if is_repeated {
                return Err(InvalidMessage::DuplicateExtension);
            }
        }
        Ok(extensions)
    }

    /// Writes the extensions block; nothing at all where there is no extension.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let nothing = Self {
            unknown: self.unknown,
            renegotiated_connection: self.renegotiated_connection,
            ..Self::default()
        };
        if *self == nothing {
            return Ok(());
        }
        w.nested16(|w| {
            if self.renegotiation_info {
                w.u16(RENEGOTIATION_INFO)?;
                w.vec16(&[0])?;
            }
            if self.extended_master_secret {
                w.u16(EXTENDED_MASTER_SECRET)?;
                w.vec16(&[])?;
            }
            if let Some(name) = self.server_name {
                w.u16(SERVER_NAME)?;
                w.nested16(|w| match name {
                    [] => Ok(()),
                    name => w.nested16(|w| {
                        w.u8(HOST_NAME)?;
                        w.vec16(name)
                    }),
                })?;
            }
            if let Some(length) = self.max_fragment_length {
                w.u16(MAX_FRAGMENT_LENGTH)?;
                w.vec16(&[length.number()])?;
            }
            if let Some(groups) = self.supported_groups.filter(|_| cfg!(feature = "x25519")) {
                w.u16(SUPPORTED_GROUPS)?;
                w.nested16(|w| w.vec16(groups))?;
            }
            if self.ec_point_formats && cfg!(feature = "x25519") {
                w.u16(EC_POINT_FORMATS)?;
                w.vec16(&[1, UNCOMPRESSED])?;
            }
            if let Some(limit) = self.record_size_limit {
                w.u16(RECORD_SIZE_LIMIT)?;
                w.vec16(&limit.to_be_bytes())?;
            }
            if let Some(ticket) = self.session_ticket {
                w.u16(SESSION_TICKET)?;
                w.vec16(ticket)?;
            }
            if let Some(id) = self.connection_id {
                w.u16(CONNECTION_ID)?;
                w.nested16(|w| w.vec8(id))?;
            }
            if self.return_routability_check {
                w.u16(RETURN_ROUTABILITY_CHECK)?;
                w.vec16(&[])?;
            }
            Ok(())
        })
    }

    /// Whether the client can use X25519: it says so, or it names no groups, which leaves the choice to the server (RFC 8422
    /// §4).
    pub fn allow_x25519(&self) -> bool {
        let named = |groups: &[u8]| groups.chunks_exact(2).any(|group| group == X25519.to_be_bytes());
        self.supported_groups.is_none_or(named)
    }

    /// Whether a server's answer holds nothing that the client did not offer (RFC 5246 §7.4.1.4). `renegotiation_info`
    /// is always offered, by the signaling suite.
    pub const fn are_offered_by(&self, offer: &Self) -> bool {
        !self.unknown
            && (offer.server_name.is_some() || self.server_name.is_none())
            && (offer.max_fragment_length.is_some() || self.max_fragment_length.is_none())
            // It has no place in a ServerHello, but some servers say it, and OpenSSL lets them.
            && (offer.supported_groups.is_some() || self.supported_groups.is_none())
            && (offer.ec_point_formats || !self.ec_point_formats)
            && (offer.extended_master_secret || !self.extended_master_secret)
            && (offer.record_size_limit.is_some() || self.record_size_limit.is_none())
            && (offer.session_ticket.is_some() || self.session_ticket.is_none())
            && (offer.connection_id.is_some() || self.connection_id.is_none())
            && (offer.return_routability_check || !self.return_routability_check)
    }
}

/// At least one group, of two bytes each.
fn groups(data: &[u8]) -> Result<&[u8], InvalidMessage> {
    let groups = whole(data, Reader::vec16)?;
    if groups.is_empty() || !groups.len().is_multiple_of(2) {
        return Err(InvalidMessage::IllegalLength);
    }
    Ok(groups)
}

/// Reads an extension without contents: whether it was there before.
fn set(flag: &mut bool, data: &[u8]) -> Result<bool, InvalidMessage> {
    if data.is_empty() { Ok(core::mem::replace(flag, true)) } else { Err(InvalidMessage::IllegalLength) }
}

/// Reads one field that must be all there is.
fn whole<'a, T>(
    data: &'a [u8],
    field: impl FnOnce(&mut Reader<'a>) -> Result<T, InvalidMessage>,
) -> Result<T, InvalidMessage> {
    let mut r = Reader::new(data);
    let value = field(&mut r)?;
    r.finish()?;
    Ok(value)
}

/// `ServerNameList` of a client, or the empty answer of a server. Names of types that nobody has defined are passed over.
fn host_name(data: &[u8]) -> Result<&[u8], InvalidMessage> {
    if data.is_empty() {
        return Ok(data);
    }
    let mut list = Reader::new(whole(data, Reader::vec16)?);
    let mut host_name = None;
    while !list.is_empty() {
        let name_type = list.u8()?;
        let name = list.vec16()?;
        if name.is_empty() {
            return Err(InvalidMessage::IllegalLength);
        }
        // More than one name of a type is against the rules (RFC 6066 §3).
        if name_type == HOST_NAME && host_name.replace(name).is_some() {
            return Err(InvalidMessage::IllegalValue);
        }
    }
    host_name.ok_or(InvalidMessage::IllegalLength)
}

/// Less than 64 bytes is against the rules (RFC 8449 §4).
fn size_limit(data: &[u8]) -> Result<u16, InvalidMessage> {
    match whole(data, Reader::u16)? {
        0..64 => Err(InvalidMessage::IllegalValue),
        limit => Ok(limit),
    }
}
