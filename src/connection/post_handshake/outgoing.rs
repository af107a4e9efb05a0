//! A handshake message of an established session on its way out.

use crate::connection_id::OwnConnectionId;
use crate::crypto::key_schedule::Secret;
use crate::crypto::provider::CryptoProvider;
use crate::error::Error;
use crate::handshake::{self, Timer};
use crate::log::debug;
use crate::record::WriteState;
use crate::resumption::TlsSessionId;
use crate::wire::finished::VERIFY_DATA13_LEN;
use crate::wire::handshake::{HandshakeType, whole_header};
use crate::wire::key_update::KeyUpdate;
use crate::wire::new_connection_id::{ConnectionIdUsage, NewConnectionId};
use crate::wire::new_session_ticket::NewSessionTicket13;
use crate::wire::record::ContentType;
use crate::wire::{BufferFull, Writer};

/// How many records with one message are remembered, to know its ACK by.
const MAX_SENT: usize = 3;

/// No record has this number: keys are replaced long before.
pub(super) const NOT_SENT: u64 = u64::MAX;

/// The longest message in bytes that is sent: a NewSessionTicket.
const MAX_BODY: usize = 4 + 4 + 2 + 2 + 32 + 2;

/// A message that is sent until it is acknowledged.
pub(super) struct Outgoing {
    pub(super) message: Message,
    pub(super) message_seq: u16,
    /// The numbers of the last records that it went out in; [`NOT_SENT`] where there are less.
    pub(super) sent: [u64; MAX_SENT],
    pub(super) is_due: bool,
    /// `None` where the time is not known yet, or has passed.
    pub(super) timer: Option<Timer>,
    pub(super) has_given_up: bool,
}

pub(super) enum Message {
    /// A client's Finished, under the secret of epoch 2, with the number of the next record there.
    Finished {
        secret: Secret,
        next: u64,
        verify_data: [u8; VERIFY_DATA13_LEN],
    },
    KeyUpdate(KeyUpdate),
    NewSessionTicket {
        ticket: TlsSessionId,
        age_add: u32,
    },
    /// With one ID, or with none for who has a spare one already.
    NewConnectionId {
        id: OwnConnectionId,
        usage: ConnectionIdUsage,
    },
    RequestConnectionId,
}

impl Message {
    fn msg_type(&self) -> HandshakeType {
        match self {
            Self::Finished { .. } => HandshakeType::Finished,
            Self::KeyUpdate(_) => HandshakeType::KeyUpdate,
            Self::NewSessionTicket { .. } => HandshakeType::NewSessionTicket,
            Self::NewConnectionId { .. } => HandshakeType::NewConnectionId,
            Self::RequestConnectionId => HandshakeType::RequestConnectionId,
        }
    }

    fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        match self {
            Self::Finished { verify_data, .. } => w.bytes(verify_data),
            Self::KeyUpdate(update) => w.bytes(&update.to_bytes()),
            Self::NewSessionTicket { ticket, age_add } => NewSessionTicket13 {
                ticket_lifetime: handshake::TICKET_LIFETIME,
                ticket_age_add: *age_add,
                ticket_nonce: handshake::TICKET_NONCE,
                ticket: ticket.as_bytes(),
            }
            .emit(w),
            Self::NewConnectionId { id, usage } => {
                let ids = Some(id.as_bytes()).filter(|id| !id.is_empty());
                NewConnectionId::emit(w, ids.into_iter(), *usage)
            }
            Self::RequestConnectionId => w.u8(1),
        }
    }
}

impl Outgoing {
    pub(super) fn new(message: Message, message_seq: u16) -> Self {
        Self {
            message,
            message_seq,
            sent: [NOT_SENT; MAX_SENT],
            is_due: true,
            timer: None,
            has_given_up: false,
        }
    }

    /// Under which epoch it goes out: that of the session's keys, as they do not change before it has arrived (RFC 9147 §8).
    pub(super) const fn epoch(&self, write: &WriteState) -> u64 {
        match self.message {
            Message::Finished { .. } => handshake::HANDSHAKE_EPOCH,
            _ => write.epoch(),
        }
    }

    /// Seals it at the start of `buf`.
    pub(super) fn seal(
        &mut self,
        write: &mut WriteState,
        crypto: &dyn CryptoProvider,
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        let mut body = [0; MAX_BODY];
        let mut w = Writer::new(&mut body);
        self.message.emit(&mut w).map_err(|BufferFull| Error::BufferTooSmall { needed: MAX_BODY })?;
        let body = &*w.written();
        let msg_type = self.message.msg_type();
        let parts = [&whole_header(msg_type, body.len(), self.message_seq)[..], body];
        let number;
        let len = match &mut self.message {
            Message::Finished { secret, next, .. } => {
                // Made anew each time: it is rarely sent twice, and a key would be kept in every session.
                let mut early = write.clone();
                early.begin(handshake::HANDSHAKE_EPOCH, u16::MAX);
                early.secret_mut().copy_from_slice(secret.as_ref());
                early.derive_key();
                early.go_on_at(*next);
                number = *next;
                let len = early.seal(crypto, ContentType::Handshake, parts, buf)?;
                *next += 1;
                len
            }
            _ => {
                number = write.sealed();
                write.seal(crypto, ContentType::Handshake, parts, buf)?
            }
        };
        debug!("-> {:?} (message {})", msg_type, self.message_seq);
        self.sent.rotate_right(1);
        if let Some(latest) = self.sent.first_mut() {
            *latest = number;
        }
        self.is_due = false;
        Ok(len)
    }
}
