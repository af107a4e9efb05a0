//! Observing a resource (RFC 7641).

use embedded_nal_async::ConnectedUdp;
use rand_core::TryCryptoRng;

use super::message::Datagram;
use super::transfer::{DEREGISTER, Failure, REGISTER, Step, Transfer, reply};
use super::watch::{News, Watch};
use super::{Client, Error, Message, Reply, Request};
use crate::Timer;

/// What has to be asked for before there is a representation to return.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    /// The registration.
    Registration,
    /// What there is now: the server has said that it is new, but it has not come whole.
    Representation,
    /// Nothing: the next notification will come by itself.
    Nothing,
}

/// An observation of what a request asks for, made by [`Client::observe`] (RFC 7641).
///
/// Dropping it forgets the observation, and the client can be used for other requests again. It rejects the server's next
/// notification, "which causes the server to remove the associated entry from the list of observers" (§3.6).
/// [`cancel`](Self::cancel) tells the server at once.
///
/// ```
/// use dtls_psk::{Timer, coap};
/// use embedded_nal_async::ConnectedUdp;
///
/// async fn watch<S: ConnectedUdp>(
///     client: &mut coap::Client<'_, S, impl Timer, impl rand_core::TryCryptoRng>,
/// ) -> Result<(), coap::Error<S::Error>> {
///     let mut observation = client.observe(&coap::Request::get("/temperature"));
///     while let Some(reply) = observation.next().await? {
///         println!("{}: {:?}", reply.code(), core::str::from_utf8(reply.payload()));
///     }
///     println!("the server says no more");
///     Ok(())
/// }
/// ```
pub struct Observation<'c, 's, 'r, S, T, R, const SIZE: usize> {
    client: &'c mut Client<'s, S, T, R, SIZE>,
    request: Request<'r>,
    watch: Watch,
    due: Due,
}

impl<'c, 's, 'r, S, T, R, const SIZE: usize> Observation<'c, 's, 'r, S, T, R, SIZE> {
    pub(super) fn new(client: &'c mut Client<'s, S, T, R, SIZE>, request: &Request<'r>) -> Self {
        Self { client, request: *request, watch: Watch::new(), due: Due::Registration }
    }
}

impl<S, T, R, const SIZE: usize> Observation<'_, '_, '_, S, T, R, SIZE>
where
    S: ConnectedUdp,
    T: Timer,
    R: TryCryptoRng,
{
    /// Waits for what is there now, the first time, and then for what is new; `None` once the server will say no more.
    ///
    /// The first call registers. A reply that is no success, or that comes from a server which does not let itself be observed,
    /// is the last one. Notifications that were overtaken by newer ones are skipped (§3.4), and what does not fit into a
    /// notification is fetched in blocks (RFC 7959 §2.6).
    ///
    /// Without news, it waits for ever. The server need not send any before Max-Age has passed, and after that only if there are
    /// some; and one that has been restarted knows of no observers. Whoever wants to be sure drops the future after a while, with
    /// a timeout longer than [`Reply::max_age`], and goes on with [`renew`](Self::renew). Nothing is lost with the future: what it had
    /// begun to fetch, the next call fetches.
    ///
    /// # Errors
    ///
    /// As [`Client::get`]. After an error, the next call goes on.
    pub async fn next(&mut self) -> Result<Option<Reply<'_>>, Error<S::Error>> {
        let len = match self.due {
            Due::Registration => self.register().await?,
            Due::Representation => self.fetch(None).await?,
            Due::Nothing if !self.watch.is_registered() => return Ok(None),
            Due::Nothing => self.wait().await?,
        };
        self.due = Due::Nothing;
        reply(&self.client.incoming, len).map(Some)
    }

    /// Has the next call of [`next`](Self::next) register anew, under the same token: "To make sure it has a current representation
    /// and/or to re-register its interest in a resource, a client MAY issue a new GET request with the same token as the original
    /// at any time" (§3.3.1). It should wait until Max-Age has passed and 5 to 15 seconds more.
    pub fn renew(&mut self) {
        self.due = Due::Registration;
    }

    /// Tells the server that nothing more is wanted (§3.6).
    ///
    /// # Errors
    ///
    /// As [`Client::get`]. The observation is over all the same.
    pub async fn cancel(mut self) -> Result<(), Error<S::Error>> {
        if !self.watch.is_registered() {
            return Ok(());
        }
        self.watch.end();
        let Client { link, incoming } = &mut *self.client;
        let mut transfer = Transfer::new(self.request, link.echo.take()).observing(DEREGISTER);
        // "a GET request that has the Token field set to the token of the observation to be cancelled" (§3.6). What it is answered
        // with is of no interest, unless that is to ask again.
        let token = Some(self.watch.token());
        while link.step(&mut transfer, token, Some(&mut self.watch), incoming).await? == Step::Again {}
        link.echo = transfer.take_echo();
        Ok(())
    }

    /// Registers, and returns how long the reply is.
    async fn register(&mut self) -> Result<usize, Error<S::Error>> {
        let Client { link, incoming } = &mut *self.client;
        let mut transfer = Transfer::new(self.request, link.echo.take()).observing(REGISTER);
        let step = loop {
            // An observation has one token, also when it is renewed. The request that was answered with an Echo is another one.
            if !self.watch.is_registered() {
                self.watch.begin(link.token()?);
            }
            match link.step(&mut transfer, Some(self.watch.token()), None, incoming).await? {
                Step::Again | Step::Sent => {}
                step => break step,
            }
        };
        if let Some(message) =
            incoming.get(..transfer.received()).and_then(|first| Message::parse(first).ok())
        {
            self.watch.on_registered(&message, link.timer.now());
        }
        match step {
            Step::Part => self.fetch(Some(transfer)).await,
            _ => {
                let len = transfer.received();
                link.echo = transfer.take_echo();
                Ok(len)
            }
        }
    }

    /// Fetches what there is, or what is missing of it, and returns how long the reply is. When it is outdated meanwhile, that
    /// begins anew.
    async fn fetch(&mut self, begun: Option<Transfer<'_>>) -> Result<usize, Error<S::Error>> {
        self.due = Due::Representation;
        let Client { link, incoming } = &mut *self.client;
        let mut transfer = match begun {
            Some(transfer) => transfer,
            None => Transfer::new(self.request, link.echo.take()),
        };
        // "the requests for additional blocks cannot make use of the token of the Observation relationship" (RFC 7959 §3.4).
        while link.step(&mut transfer, None, Some(&mut self.watch), incoming).await? != Step::Done {}
        let len = transfer.received();
        link.echo = transfer.take_echo();
        Ok(len)
    }

    /// Waits for the next notification, and returns how long the reply is.
    async fn wait(&mut self) -> Result<usize, Error<S::Error>> {
        let Client { link, incoming } = &mut *self.client;
        let len = loop {
            let len = link.socket.receive_into(incoming).await.map_err(Error::Socket)?;
            let datagram = Datagram::new(incoming, len);
            let notified = datagram.header().ok().and_then(|header| {
                self.watch.receive(header, datagram.message(), link.timer.now(), &mut link.acknowledged)
            });
            let Some(notified) = notified else {
                let reply = link.acknowledged.turn_away(datagram.header());
                link.answer(reply).await;
                continue;
            };
            if notified.news == News::Newer {
                // It will not come again once it is acknowledged.
                self.due = Due::Representation;
            }
            link.answer(notified.reply).await;
            match notified.news {
                News::Newer => break len,
                News::Older => {}
                News::BadOption => return Err(Error::BadOption),
            }
        };
        // "The client retrieves the rest of the representation as if it had caused this first response by a GET request" (RFC 7959
        // §2.6).
        let mut transfer = Transfer::new(self.request, link.echo.take());
        match transfer.on_response(incoming, len).map_err(Failure::into_error)? {
            Step::Done => {
                let len = transfer.received();
                link.echo = transfer.take_echo();
                Ok(len)
            }
            _ => self.fetch(Some(transfer)).await,
        }
    }
}
