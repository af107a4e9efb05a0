//! A client whose server has yet to say which version it speaks.

#[cfg(feature = "dtls12")]
use super::client_hello::offers;
#[cfg(feature = "dtls12")]
use super::client12;
use super::{Context, Core, Established, Message, State};
use crate::error::{Error, PeerMisbehaved};
use crate::psk::Psk;
use crate::time::Instant;
use crate::wire::handshake::HandshakeType;
#[cfg(feature = "dtls12")]
use crate::wire::hello_verify_request::HelloVerifyRequest;
use crate::wire::server_hello::ServerHello;
use crate::wire::version::ProtocolVersion;

impl Core {
    /// What a client does with a message.
    pub(super) fn on_server_message(
        &mut self,
        context: &Context<'_>,
        psk: &Psk<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Option<Established>, Error> {
        match (&mut self.state, message.msg_type) {
            #[cfg(feature = "dtls12")]
            (State::ClientAwaitsServerHello(hello), HandshakeType::HelloVerifyRequest)
                if offers(context.config, psk, ProtocolVersion::Dtls12) =>
            {
                let request = HelloVerifyRequest::parse(message.body)?;
                hello.follow(request.cookie)?;
                let seq = self.flight.next_seq();
                self.start_flight(context, &[HandshakeType::ClientHello], seq, now)?;
                Ok(None)
            }
            (State::ClientAwaitsServerHello(_), HandshakeType::ServerHello) => {
                let hello = ServerHello::parse(message.body)?;
                match hello.version()? {
                    #[cfg(feature = "dtls13")]
                    Some(ProtocolVersion::Dtls13) => {
                        self.on_server_hello13(context, psk, &hello, message, now)?
                    }
                    #[cfg(feature = "dtls12")]
                    Some(ProtocolVersion::Dtls12) => {
                        self.on_server_hello12(context, psk, &hello, message, now)?
                    }
                    #[allow(unreachable_patterns, reason = "but not in a build with one version")]
                    _ => return Err(PeerMisbehaved::UnsupportedVersion.into()),
                }
                Ok(None)
            }
            #[cfg(feature = "dtls12")]
            (State::ClientAwaitsServerHelloDone(_) | State::ClientAwaitsFinished(_), _) => {
                self.on_server_message12(context, &client12::psk(psk), message, now)
            }
            #[cfg(feature = "dtls13")]
            (State::Client13(_), _) => self.on_server_message13(context, message),
            _ => Err(PeerMisbehaved::UnexpectedMessage.into()),
        }
    }
}
