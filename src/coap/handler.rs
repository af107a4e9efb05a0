//! How a handler learns whom it serves.

use coap_handler::Handler;
use coap_message::{MinimalWritableMessage, MutableWritableMessage, ReadableMessage};

use crate::Peer;

/// Makes the handler for the peer that a request came from.
///
/// [`coap_handler::Handler`] has no place for who is asking. So [`Server::run_for`](super::Server::run_for) asks this
/// trait for a handler once per request, and the handler may keep what it is told for as long as it serves this request.
/// A server that treats all peers alike needs none of this: [`Server::run`](super::Server::run) takes a handler as it is.
///
/// The identity is one that the peer proved to hold the key of. Over a socket without security, there is no peer.
///
/// ```
/// use coap_handler_implementations::SimpleRendered;
/// use dtls_psk::{Peer, coap::ForPeer};
///
/// /// Only `maintenance` may read the log.
/// struct Guard {
///     log: String,
/// }
///
/// impl ForPeer for Guard {
///     // An absent handler answers 4.04 to everything.
///     type Handler<'h> = Option<SimpleRendered<&'h str>>;
///
///     fn for_peer<'h>(&'h mut self, peer: Option<Peer<'h>>) -> Self::Handler<'h> {
///         let trusted = peer.is_some_and(|peer| peer.identity == b"maintenance");
///         trusted.then_some(SimpleRendered(self.log.as_str()))
///     }
/// }
/// ```
pub trait ForPeer {
    /// What handles one request; it may borrow from `self` and from what is known of the peer.
    type Handler<'h>: Handler
    where
        Self: 'h;

    /// The handler for a request of `peer`.
    ///
    /// Called once per request that is new and well-formed, right before the handler gets to see it.
    fn for_peer<'h>(&'h mut self, peer: Option<Peer<'h>>) -> Self::Handler<'h>;
}

/// The same handler for everyone.
pub(super) struct ForEveryone<'a, H>(pub(super) &'a mut H);

impl<H: Handler> ForPeer for ForEveryone<'_, H> {
    type Handler<'h>
        = Borrowed<'h, H>
    where
        Self: 'h;

    fn for_peer<'h>(&'h mut self, _: Option<Peer<'h>>) -> Borrowed<'h, H> {
        Borrowed(self.0)
    }
}

/// `Handler` for a reference to one, which `coap-handler` does not have.
pub(super) struct Borrowed<'a, H>(&'a mut H);

impl<H: Handler> Handler for Borrowed<'_, H> {
    type RequestData = H::RequestData;
    type ExtractRequestError = H::ExtractRequestError;
    type BuildResponseError<M: MinimalWritableMessage> = H::BuildResponseError<M>;

    fn extract_request_data<M: ReadableMessage>(
        &mut self,
        request: &M,
    ) -> Result<Self::RequestData, Self::ExtractRequestError> {
        self.0.extract_request_data(request)
    }

    fn estimate_length(&mut self, request: &Self::RequestData) -> usize {
        self.0.estimate_length(request)
    }

    fn build_response<M: MutableWritableMessage>(
        &mut self,
        response: &mut M,
        request: Self::RequestData,
    ) -> Result<(), Self::BuildResponseError<M>> {
        self.0.build_response(response, request)
    }
}
