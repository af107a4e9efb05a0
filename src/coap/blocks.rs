//! A request that is made step by step, for bodies of any length (RFC 7959).

use embedded_nal_async::ConnectedUdp;
use rand_core::TryCryptoRng;

use super::transfer::{Step, Transfer, reply};
use super::{Client, Error, Reply, Request};
use crate::Timer;

/// A request on its way, made by [`Client::in_blocks`].
///
/// Each call of [`next`](Self::next) goes one block further. Dropping it abandons the request, and the client is ready for the
/// next one.
///
/// ```
/// use dtls_psk::{Timer, coap};
/// use embedded_nal_async::ConnectedUdp;
///
/// async fn firmware<S: ConnectedUdp>(
///     client: &mut coap::Client<'_, S, impl Timer, impl rand_core::TryCryptoRng>,
///     mut write: impl FnMut(usize, &[u8]),
/// ) -> Result<(), coap::Error<S::Error>> {
///     let mut blocks = client.in_blocks(&coap::Request::get("/firmware"));
///     while let Some(progress) = blocks.next().await? {
///         if let coap::Progress::Received(part) = progress {
///             if !part.reply().code().is_success() {
///                 println!("{}: {:?}", part.reply().code(), part.reply().diagnostic());
///                 break;
///             }
///             // It may begin again at 0, when there is another firmware now.
///             write(part.offset(), part.reply().payload());
///         }
///     }
///     Ok(())
/// }
/// ```
pub struct Blocks<'c, 's, 'r, S, T, R, const SIZE: usize> {
    client: &'c mut Client<'s, S, T, R, SIZE>,
    /// `None` at the end.
    transfer: Option<Transfer<'r>>,
    payload: usize,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The server has so much of the payload.
    Sent {
        /// How many bytes.
        sent: usize,
        /// How many there are in all.
        total: usize,
    },
    /// A part of the reply has come.
    Received(Part<'a>),
}

/// A part of a reply, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    reply: Reply<'a>,
    offset: usize,
    total: Option<u32>,
    is_last: bool,
}

impl<'a> Part<'a> {
    /// The message that the part came in. Its code and its options are those of the whole reply, its payload is the part. A code
    /// that is no success is that of a reply which takes the place of all parts so far.
    pub fn reply(&self) -> &Reply<'a> {
        &self.reply
    }

    /// Where the part begins in the whole, in bytes: where the last one ended, or at 0 again when the server has something else
    /// there by now, which happens up to three times.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// How many bytes the whole will have, by the server's estimate (Size2, RFC 7959 §4), if it has one. Nothing but
    /// [`is_last`](Self::is_last) says where the end is.
    pub fn total(&self) -> Option<u32> {
        self.total
    }

    /// Whether there is no more.
    pub fn is_last(&self) -> bool {
        self.is_last
    }
}

impl<'c, 's, 'r, S, T, R, const SIZE: usize> Blocks<'c, 's, 'r, S, T, R, SIZE> {
    pub(super) fn new(client: &'c mut Client<'s, S, T, R, SIZE>, request: &Request<'r>) -> Self {
        let transfer = Transfer::new(*request, client.link.echo.take()).one_by_one();
        Self { client, transfer: Some(transfer), payload: request.payload.len() }
    }
}

impl<S, T, R, const SIZE: usize> Blocks<'_, '_, '_, S, T, R, SIZE>
where
    S: ConnectedUdp,
    T: Timer,
    R: TryCryptoRng,
{
    /// Waits until a block more is sent or received; `None` after the last part of the reply.
    ///
    /// When its future is dropped, the next call makes the same step again: the server may see the block twice.
    ///
    /// # Errors
    ///
    /// As [`Client::get`]. After an error, the next call tries the same step again.
    pub async fn next(&mut self) -> Result<Option<Progress<'_>>, Error<S::Error>> {
        let Client { link, incoming } = &mut *self.client;
        let Some(transfer) = &mut self.transfer else {
            return Ok(None);
        };
        let step = loop {
            match link.step(transfer, None, None, incoming).await? {
                Step::Again => {}
                Step::Sent => {
                    let sent = transfer.acknowledged();
                    return Ok(Some(Progress::Sent { sent, total: self.payload }));
                }
                step => break step,
            }
        };
        let (offset, total, len) = (transfer.part(), transfer.total(), transfer.newest());
        let is_last = step == Step::Done;
        if is_last {
            link.echo = self.transfer.take().and_then(|mut transfer| transfer.take_echo());
        }
        Ok(Some(Progress::Received(Part { reply: reply(incoming, len)?, offset, total, is_last })))
    }
}
